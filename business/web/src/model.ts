// What the page shows, and what it does. Views read it and are told when something changed.

import { Client, conversationOf, GimError, IndexedDbStore, textOf, type Message, type State } from "gim-client";

export interface Target {
  kind: "user" | "group" | "room";
  id: string;
}

export interface Account {
  user_id: string;
  device_id: string;
  token: string;
}

// A message of the list, or one that is on its way.
export interface Line {
  key: string;
  message: Message | null;
  text: string;
  createdAtMs: number;
  isOwn: boolean;
  state: "" | "sending" | "sent" | "failed";
  problem: string;
}

export interface Conversation {
  target: Target;
  newest: Message | null;
  unread: number;
}

const PAGE = 50;
const ACCOUNT = "gim account";

export const keyOf = (target: Target): string => `${target.kind}/${target.id}`;

export class Model {
  account: Account | null = JSON.parse(localStorage.getItem(ACCOUNT) ?? "null");
  state: State = { name: "idle" };
  conversations: Conversation[] = [];
  open: Target | null = null;
  lines: Line[] = [];
  hasEarlier = false;
  // The key of the line above which what is new begins.
  unreadFrom = "";
  notice = "";
  isStoring = true;
  readonly names = new Map<string, string>();
  private client: Client | null = null;
  private store: IndexedDbStore | null = null;
  private readonly outgoing = new Map<string, Line & { target: Target }>();
  private readonly listeners = new Set<() => void>();

  constructor() {
    addEventListener("hashchange", () => void this.follow());
    addEventListener("focus", () => this.markRead());
    if (this.account) void this.begin();
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private changed(): void {
    for (const listener of this.listeners) listener();
  }

  // Returns what went wrong, in words.
  async signIn(phone_number: string, code: string): Promise<string> {
    try {
      const device_id = localStorage.getItem(`gim device of ${phone_number}`) ?? "";
      const response = await fetch("/sign-in", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ phone_number, code, device_id }) });
      const answer = await response.json();
      if (!response.ok) return answer.message;
      this.account = answer as Account;
      localStorage.setItem(`gim device of ${phone_number}`, answer.device_id);
      localStorage.setItem(ACCOUNT, JSON.stringify(answer));
      await this.begin();
      return "";
    } catch (error) {
      return String(error);
    }
  }

  async signOut(): Promise<void> {
    localStorage.removeItem(ACCOUNT);
    this.account = null;
    this.conversations = [];
    this.lines = [];
    this.open = null;
    this.outgoing.clear();
    const client = this.client;
    this.client = null;
    this.changed();
    await client?.stop();
  }

  // Takes the connection back from another page, or tries anew.
  useHere(): void {
    if (this.state.name === "ended" && this.state.reason !== "replaced" && this.state.reason !== "kicked") void this.signOut();
    else this.client?.start();
  }

  private async begin(): Promise<void> {
    const { user_id: userId, device_id: deviceId, token } = this.account!;
    this.store = new IndexedDbStore(`gim ${userId} ${deviceId}`);
    const client = new Client({
      userId, deviceId, store: this.store, startAt: "first", locate: new URL("/locate", location.href).href,
      // This page has no other way to a token than the sign-in.
      getToken: ({ wasRefused }) => (wasRefused ? null : token),
    });
    this.client = client;
    client.on("state", (state) => { this.state = state; this.changed(); });
    client.on("message", (message) => this.onMessage(message));
    client.on("sent", ({ clientMsgId, messageId }) => this.onSent(clientMsgId, messageId));
    client.on("failed", ({ clientMsgId, message }) => this.onFailed(clientMsgId, message));
    client.on("error", ({ about, message }) => {
      console.warn(about, message);
      if (about === "storage") { this.isStoring = false; this.changed(); }
    });
    await this.load();
    client.start();
    await this.follow();
  }

  private async load(): Promise<void> {
    try {
      const { outbox } = await this.store!.load();
      for (const send of outbox) this.putOutgoing(send.clientMsgId, send.target, textOf(send), send.createdAtMs);
      const stored = await this.store!.conversations();
      this.conversations = await Promise.all(stored.map(async ({ target, newest }) => {
        this.learnName(newest);
        const recent = await this.store!.messages(target, Infinity, 100);
        return { target, newest, unread: recent.filter((message) => this.isUnread(target, message)).length };
      }));
    } catch {
      this.isStoring = false;
    }
    this.changed();
  }

  // Opens what the address names, as in "#user/8".
  private async follow(): Promise<void> {
    const [kind, id] = location.hash.slice(1).split("/");
    const isTarget = (kind === "user" || kind === "group") && /^[1-9]\d*$/.test(id ?? "");
    this.open = this.account && isTarget ? { kind, id: id! } : null;
    this.lines = [];
    this.unreadFrom = "";
    if (!this.open) return this.changed();
    const target = this.open;
    const messages = await this.store!.messages(target, Infinity, PAGE).catch(() => []);
    if (this.open !== target) return;
    this.hasEarlier = messages.length === PAGE;
    this.lines = messages.map((message) => this.lineOf(message));
    this.unreadFrom = this.lines.find(({ message }) => message && this.isUnread(target, message))?.key ?? "";
    for (const line of this.outgoing.values()) if (keyOf(line.target) === keyOf(target)) this.lines.push(line);
    this.markRead();
    this.changed();
  }

  // What is before the first line: from this browser, then from the server.
  async loadEarlier(): Promise<void> {
    const { open: target, store, client } = this;
    const first = this.lines.find(({ message }) => message)?.message;
    if (!target || !first || !this.hasEarlier || target.kind === "room") return;
    this.hasEarlier = false;
    const before = numberOf(first);
    let earlier = await store!.messages(target, before, PAGE).catch(() => []);
    let hasEarlier = earlier.length === PAGE;
    if (earlier.length === 0) {
      const page = await client!.history.page({ kind: target.kind, id: target.id }, before, PAGE).catch(() => ({ messages: [], hasMore: false }));
      earlier = page.messages.reverse();
      hasEarlier = page.hasMore;
    }
    if (this.open !== target) return;
    this.lines = [...earlier.map((message) => this.lineOf(message)), ...this.lines];
    this.hasEarlier = hasEarlier;
    this.changed();
  }

  send(text: string): void {
    if (!this.open || !this.client) return;
    const clientMsgId = this.client.send(this.open, text);
    const line = this.putOutgoing(clientMsgId, this.open, text, Date.now());
    this.unreadFrom = "";
    this.lines = [...this.lines, line];
    this.changed();
  }

  sendAgain(line: Line): void {
    this.outgoing.delete(line.key);
    this.lines = this.lines.filter((other) => other !== line);
    this.send(line.text);
  }

  async recall(message: Message): Promise<void> {
    await this.client!.history.recall(message.messageId).catch((error) => this.tell(error instanceof GimError ? error.message : String(error)));
  }

  // The users that a phone number, a name or a user number means.
  async find(key: string): Promise<Target | null> {
    const { users } = await this.client!.users.search(key, { timeoutMs: 5000 }).catch(() => ({ users: [] }));
    const found = users.find(({ userId }) => userId !== this.account!.user_id);
    if (found?.nickname) this.names.set(found.userId, found.nickname);
    const id = found?.userId ?? (/^[1-9]\d{0,18}$/.test(key) ? key : "");
    return id ? { kind: "user", id } : null;
  }

  private tell(notice: string): void {
    this.notice = notice;
    this.changed();
  }

  private putOutgoing(clientMsgId: string, target: Target, text: string, createdAtMs: number): Line {
    const line = { key: clientMsgId, target, message: null, text, createdAtMs, isOwn: true, state: "sending", problem: "" } as Line & { target: Target };
    this.outgoing.set(clientMsgId, line);
    return line;
  }

  private onSent(clientMsgId: string, messageId: string): void {
    const line = this.outgoing.get(clientMsgId);
    this.outgoing.delete(clientMsgId);
    if (!line) return;
    const isThere = this.lines.some(({ message }) => message?.messageId === messageId);
    this.lines = isThere ? this.lines.filter((other) => other !== line) : this.lines.map((other) => (other === line ? { ...line, key: messageId, state: "sent" } : other));
    this.changed();
  }

  private onFailed(clientMsgId: string, problem: string): void {
    const line = this.outgoing.get(clientMsgId);
    if (!line) return;
    this.lines = this.lines.map((other) => (other === line ? { ...line, state: "failed", problem } : other));
    this.outgoing.delete(clientMsgId);
    this.changed();
  }

  private onMessage(message: Message): void {
    this.learnName(message);
    const isKnown = this.lines.some(({ key, message: known }) => key === message.messageId || known?.messageId === message.messageId);
    if (isKnown) this.lines = this.lines.map((line) => (line.key === message.messageId ? this.replaced(line, message) : line));
    const target = conversationOf(message);
    if (!target || message.status !== "normal") {
      if (message.status === "recalled") void this.load();
      return this.changed();
    }
    const isOpen = this.open !== null && keyOf(this.open) === keyOf(target);
    if (isOpen && !isKnown) {
      const pending = this.lines.filter(({ state }) => state === "sending" || state === "failed");
      this.lines = [...this.lines.filter((line) => !pending.includes(line)), this.lineOf(message), ...pending.filter(({ key }) => key !== message.clientMsgId)];
      if (!document.hasFocus() && !this.unreadFrom && !message.isOwn) this.unreadFrom = message.messageId;
    }
    const before = this.conversations.find((conversation) => keyOf(conversation.target) === keyOf(target));
    const unread = this.isUnread(target, message) ? (before?.unread ?? 0) + 1 : before?.unread ?? 0;
    this.conversations = [{ target, newest: message, unread }, ...this.conversations.filter((conversation) => conversation !== before)];
    if (isOpen) this.markRead();
    this.changed();
  }

  private replaced(line: Line, message: Message): Line {
    if (message.status === "expired") return line;
    const known = line.message;
    return { ...line, message: known ? { ...known, status: message.status } : message, text: textOf(message), state: line.isOwn ? "sent" : "" };
  }

  private lineOf(message: Message): Line {
    this.learnName(message);
    return { key: message.messageId, message, text: textOf(message), createdAtMs: message.createdAtMs, isOwn: message.isOwn, state: message.isOwn ? "sent" : "", problem: "" };
  }

  private learnName(message: Message): void {
    if (message.from?.nickname) this.names.set(message.from.userId, message.from.nickname);
  }

  private readKey(target: Target): string {
    return `gim read ${this.account?.user_id} ${keyOf(target)}`;
  }

  private isUnread(target: Target, message: Message): boolean {
    return !message.isOwn && numberOf(message) > Number(localStorage.getItem(this.readKey(target)) ?? 0);
  }

  private markRead(): void {
    const newest = this.lines.findLast(({ message }) => message)?.message;
    if (!this.open || !newest || !document.hasFocus()) return;
    localStorage.setItem(this.readKey(this.open), String(numberOf(newest)));
    const open = keyOf(this.open);
    this.conversations = this.conversations.map((conversation) => (keyOf(conversation.target) === open ? { ...conversation, unread: 0 } : conversation));
    this.changed();
  }
}

const numberOf = (message: Message): number => message.groupSeq || message.seq;
