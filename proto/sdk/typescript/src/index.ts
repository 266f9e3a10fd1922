// The client of gim for browsers and Node.

export { Client, GimError, type ClientOptions, type RequestOptions } from "./client.js";
export { contentOf, encodeContent, previewOf, type ContentFields, type ContentKind, type TypedContent } from "./content.js";
export { LOCAL_CODE } from "./core/requests.js";
export type { EndReason, PendingSend, Remembered, Cursors, State } from "./core/types.js";
export type { ClientEvents } from "./events.js";
export { conversationOf, textOf, type Message, type Sender } from "./message.js";
export type { Conversation, ConversationChange, ConversationFields, ConversationPage, Peer, ReadMark } from "./services/conversations.js";
export type { DeviceFields } from "./services/devices.js";
export type { AddedBy, Friend, FriendRequest, User } from "./services/friends.js";
export type { Group, GroupFields, Member } from "./services/groups.js";
export type { HistoryPage, HistoryPlace } from "./services/history.js";
export { noticeOf, type Named, type Notice } from "./services/notices.js";
export { IndexedDbStore } from "./storage/indexeddb.js";
export { MemoryStore, type Store } from "./storage/store.js";
export { CODE, CONTENT_BYTES_MAX, type Id, type Target } from "./wire.js";
