// A store of the browser: messages, cursors and what is not sent yet, in one database for each user and device.
//
// Messages and cursors are written in one transaction. A page that was closed in the middle has both or neither.

import type { Cursors, PendingSend, Remembered } from "../core/types.js";
import { conversationOf, type Message } from "../message.js";
import type { Target } from "../wire.js";
import type { Store } from "./store.js";

const VERSION = 1;
const KEYS_MAX = 10_000;

interface StoredMessage {
  id: string;
  // Empty where it belongs to none.
  conversation: string;
  // Its place in the conversation.
  number: number;
  message: Message;
}

export class IndexedDbStore implements Store {
  private database: Promise<IDBDatabase> | null = null;

  constructor(
    // Tabs whose stores have the same name share one connection.
    readonly name: string,
    private readonly factory: IDBFactory = globalThis.indexedDB,
  ) {}

  async load(): Promise<Remembered> {
    const transaction = (await this.open()).transaction(["state", "outbox", "messages"]);
    const [cursors, outbox, ids] = await Promise.all([
      result<Cursors | undefined>(transaction.objectStore("state").get("cursors")),
      result<PendingSend[]>(transaction.objectStore("outbox").getAll()),
      result<string[]>(transaction.objectStore("messages").getAllKeys(null, KEYS_MAX) as IDBRequest<string[]>),
    ]);
    outbox.sort((one, other) => one.createdAtMs - other.createdAtMs);
    return { cursors: cursors ?? { inbox: null, groups: new Map() }, outbox, delivered: ids };
  }

  async apply(messages: Message[], cursors: Cursors): Promise<Message[]> {
    const transaction = (await this.open()).transaction(["state", "messages"], "readwrite");
    const done = completed(transaction);
    done.catch(() => {});
    const store = transaction.objectStore("messages");
    const added: Message[] = [];
    for (const message of messages) if (await put(store, message)) added.push(message);
    transaction.objectStore("state").put(cursors, "cursors");
    await done;
    return added;
  }

  // The newest messages of a conversation before a number (its own numbers: `groupSeq` in large groups, otherwise `seq`), oldest first.
  async messages(target: Target, beforeNumber: number = Infinity, limit: number = 50): Promise<Message[]> {
    const index = (await this.open()).transaction("messages").objectStore("messages").index("conversation");
    const key = `${target.kind} ${target.id}`;
    const cursor = index.openCursor(IDBKeyRange.bound([key, -Infinity], [key, beforeNumber], false, true), "prev");
    const found: Message[] = [];
    return new Promise((resolve, reject) => {
      cursor.onerror = () => reject(cursor.error);
      cursor.onsuccess = () => {
        if (cursor.result && found.length < limit) {
          found.push((cursor.result.value as StoredMessage).message);
          cursor.result.continue();
        } else resolve(found.reverse());
      };
    });
  }

  // Every conversation with its newest message, the newest conversation first.
  async conversations(): Promise<{ target: Target; newest: Message }[]> {
    const index = (await this.open()).transaction("messages").objectStore("messages").index("conversation");
    const cursor = index.openCursor(null, "prev");
    const found: { target: Target; newest: Message }[] = [];
    return new Promise((resolve, reject) => {
      cursor.onerror = () => reject(cursor.error);
      cursor.onsuccess = () => {
        if (!cursor.result) return resolve(found.sort((one, other) => other.newest.createdAtMs - one.newest.createdAtMs));
        const { conversation, message } = cursor.result.value as StoredMessage;
        const [kind, id] = conversation.split(" ") as [Target["kind"], string];
        if (conversation) found.push({ target: { kind, id }, newest: message });
        // Beyond all of this conversation.
        cursor.result.continue([conversation, -Infinity]);
      };
    });
  }

  // One that is stored; null for none.
  async message(messageId: string): Promise<Message | null> {
    const store = (await this.open()).transaction("messages").objectStore("messages");
    return (await result<StoredMessage | undefined>(store.get(messageId)))?.message ?? null;
  }

  // All messages of a conversation, as after it was deleted. Cursors stay, so they do not come again.
  async forget(target: Target): Promise<void> {
    const transaction = (await this.open()).transaction("messages", "readwrite");
    const done = completed(transaction);
    const key = `${target.kind} ${target.id}`;
    const cursor = transaction.objectStore("messages").index("conversation").openKeyCursor(IDBKeyRange.bound([key, -Infinity], [key, Infinity]));
    cursor.onsuccess = () => {
      if (!cursor.result) return;
      transaction.objectStore("messages").delete(cursor.result.primaryKey);
      cursor.result.continue();
    };
    await done;
  }

  async rememberSend(send: PendingSend): Promise<void> {
    const transaction = (await this.open()).transaction("outbox", "readwrite");
    transaction.objectStore("outbox").put(send);
    await completed(transaction);
  }

  async forgetSend(clientMsgId: string): Promise<void> {
    const transaction = (await this.open()).transaction("outbox", "readwrite");
    transaction.objectStore("outbox").delete(clientMsgId);
    await completed(transaction);
  }

  close(): void {
    this.database?.then((database) => database.close(), () => {});
    this.database = null;
  }

  private open(): Promise<IDBDatabase> {
    if (this.database) return this.database;
    const database = openDatabase(this.factory, this.name, () => this.close());
    database.catch(() => { this.database = null; });
    this.database = database;
    return database;
  }
}

// `onLost`: it was cleared by the user, or is wanted by a newer version of the page. The next use opens it anew.
function openDatabase(factory: IDBFactory, name: string, onLost: () => void): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = factory.open(name, VERSION);
    request.onupgradeneeded = () => {
      const database = request.result;
      database.createObjectStore("state");
      database.createObjectStore("outbox", { keyPath: "clientMsgId" });
      database.createObjectStore("messages", { keyPath: "id" }).createIndex("conversation", ["conversation", "number"]);
    };
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("another page holds an older version of the database"));
    request.onsuccess = () => {
      request.result.onclose = request.result.onversionchange = onLost;
      resolve(request.result);
    };
  });
}

// Returns whether it is new.
async function put(store: IDBObjectStore, message: Message): Promise<boolean> {
  if ((message.seq === 0 && message.groupSeq === 0) || message.messageId === "0") return true;
  const stored = await result<StoredMessage | undefined>(store.get(message.messageId));
  if (!stored) {
    const target = conversationOf(message);
    const conversation = target ? `${target.kind} ${target.id}` : "";
    store.put({ id: message.messageId, conversation, number: message.groupSeq || message.seq, message } satisfies StoredMessage);
    return true;
  }
  // What has expired on the server stays here as it is.
  if (stored.message.status === message.status || message.status !== "recalled") return false;
  store.put({ ...stored, message: { ...stored.message, content: message.content, status: "recalled" } });
  return true;
}

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function completed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("the transaction was aborted"));
  });
}
