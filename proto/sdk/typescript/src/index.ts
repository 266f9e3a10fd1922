// The client of gim for browsers and Node.

export { Client, GimError, type ClientOptions, type RequestOptions } from "./client.js";
export { LOCAL_CODE } from "./core/requests.js";
export type { EndReason, PendingSend, Remembered, Cursors, State } from "./core/types.js";
export type { ClientEvents } from "./events.js";
export { conversationOf, textOf, type Message, type Sender } from "./message.js";
export type { Friend, Group, GroupFields, Member, User } from "./services.js";
export { IndexedDbStore } from "./storage/indexeddb.js";
export { MemoryStore, type Store } from "./storage/store.js";
export { CODE, CONTENT_BYTES_MAX, type Target } from "./wire.js";
