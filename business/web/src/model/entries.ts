// The list of conversations: from this browser at once, then as the server has it, then as messages change it.

import type { Conversation, ConversationChange, ConversationFields, Message, Peer, ReadMark, Target } from "gim-client";
import { text } from "../text";
import type { Chat } from "./chat";
import { isMeant, isNote, numberOf } from "./lines";
import { keyOf } from "./route";

// Beyond it the number is not exact.
const UNREAD_MAX = 100;
const LISTED_MAX = 1000;
const RECOUNT_DELAY_MS = 100;
const TELL_DELAY_MS = 200;

export interface Entry {
  target: Target;
  newest: Message | null;
  // The line of the newest message where its content is not here; "" elsewhere.
  preview: string;
  activeAtMs: number;
  unread: number;
  // Whether something unread means this user.
  isMeant: boolean;
  // How far the other user has read; 0 for nothing, and in groups.
  peerReadSeq: number;
  // Higher for what was pinned later; 0 for what is not pinned.
  pinnedRank: number;
  isMuted: boolean;
  isMarkedUnread: boolean;
  isHidden: boolean;
}

export class Entries {
  private readonly all = new Map<string, Entry>();
  // Conversations whose read position is to be told.
  private readonly toTell = new Map<string, string>();
  private recounting: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly chat: Chat) {}

  // What is pinned first, then what is newest.
  get shown(): Entry[] {
    const shown = [...this.all.values()].filter(({ isHidden }) => !isHidden);
    return shown.sort((one, other) => other.pinnedRank - one.pinnedRank || other.activeAtMs - one.activeAtMs);
  }

  get unread(): number {
    return this.shown.reduce((sum, { unread, isMuted }) => sum + (isMuted ? 0 : unread), 0);
  }

  of(target: Target): Entry | undefined {
    return this.all.get(keyOf(target));
  }

  async load(): Promise<void> {
    for (const { target, newest } of await this.chat.store.conversations()) {
      this.chat.people.learn(newest);
      const entry = this.at(target);
      entry.newest = newest;
      entry.activeAtMs = newest.createdAtMs;
      await this.count(entry);
    }
    this.chat.changed();
  }

  // As the server has it, and as far as it goes: a backend of its own may not let clients list.
  async refresh(): Promise<void> {
    const listed: Conversation[] = [];
    try {
      for await (const conversation of this.chat.client.conversations.list()) if (listed.push(conversation) >= LISTED_MAX) break;
    } catch (error) {
      console.warn("conversations", error);
      return;
    }
    const keys = new Set(listed.map(({ target }) => keyOf(target)));
    for (const entry of this.all.values()) entry.isHidden = entry.target.kind !== "room" && !keys.has(keyOf(entry.target)) && listed.length < LISTED_MAX;
    for (const [index, conversation] of listed.entries()) await this.take(conversation, LISTED_MAX - index);
  }

  onMessage(message: Message, target: Target | null): void {
    if (message.status !== "normal") {
      if (message.status === "recalled") this.recountSoon();
      return;
    }
    if (!target) return;
    const entry = this.at(target);
    entry.isHidden = false;
    entry.newest = message;
    entry.preview = "";
    entry.activeAtMs = message.createdAtMs;
    if (message.isOwn) this.read(target, message);
    else if (this.isUnread(target, message)) {
      entry.unread = Math.min(UNREAD_MAX, entry.unread + 1);
      entry.isMeant ||= isMeant(message, this.chat.account.user_id);
    }
  }

  // Another device of the user set it.
  onChange(change: ConversationChange): void {
    this.apply(change.target, change);
    if (change.readSeq > 0) void this.readUpTo(change.target, change.readSeq, change.readMessageId);
    if (change.deletedUpToSeq > 0) void this.forget(change.target);
    this.chat.changed();
  }

  async set(target: Peer, fields: ConversationFields): Promise<void> {
    try {
      await this.chat.client.conversations.set(target, fields);
      this.apply(target, fields);
    } catch (error) {
      this.chat.tell(error);
    }
    this.chat.changed();
  }

  // From this user's view, on all devices.
  async delete(target: Peer): Promise<void> {
    try {
      await this.chat.client.conversations.delete(target);
      await this.forget(target);
    } catch (error) {
      this.chat.tell(error);
    }
  }

  // A room that was entered: it is in the list as long as the page is open.
  add(target: Target): void {
    this.at(target);
  }

  remove(target: Target): void {
    this.all.delete(keyOf(target));
    this.chat.changed();
  }

  isUnread(target: Target, message: Message): boolean {
    return !message.isOwn && !isNote(message) && numberOf(message) > this.readNumber(target);
  }

  // The other user read.
  onRead({ target, seq }: ReadMark): void {
    if (target.kind !== "user") return;
    const entry = this.at(target);
    entry.peerReadSeq = Math.max(entry.peerReadSeq, seq);
  }

  // Everything up to this message was read. The number never goes back. An answer of the user's own needs no telling.
  read(target: Target, message: Message): void {
    const entry = this.at(target);
    const isNew = this.raise(target, numberOf(message));
    if (isNew && target.kind !== "room" && !message.isOwn) this.tellSoon(target as Peer, message.messageId);
    entry.isMarkedUnread = false;
    if (entry.unread === 0) return;
    Object.assign(entry, { unread: 0, isMeant: false });
    this.chat.changed();
  }

  // Another tab read it: `key` is that of the conversation.
  readElsewhere(key: string): void {
    const entry = this.all.get(key);
    if (!entry) return;
    void this.count(entry).then(() => this.chat.changed());
  }

  // On another device. The server's numbers are those of this browser, but for groups that are not large.
  private async readUpTo(target: Peer, seq: number, messageId: string): Promise<void> {
    const stored = await this.chat.store.message(messageId).catch(() => null);
    if (stored) this.raise(target, numberOf(stored));
    else if (target.kind === "user") this.raise(target, seq);
    else return;
    await this.count(this.at(target));
    this.chat.changed();
  }

  // Returns whether the number rose.
  private raise(target: Target, number: number): boolean {
    if (number <= this.readNumber(target)) return false;
    try {
      localStorage.setItem(this.readKey(target), String(number));
    } catch {
      // The browser is out of room: it is unread again next time.
    }
    return true;
  }

  // One call for all that is read in a moment.
  private tellSoon(target: Peer, messageId: string): void {
    const isTelling = this.toTell.has(keyOf(target));
    this.toTell.set(keyOf(target), messageId);
    if (isTelling) return;
    setTimeout(() => {
      const newest = this.toTell.get(keyOf(target))!;
      this.toTell.delete(keyOf(target));
      this.chat.client.conversations.read(target, newest).catch((error) => console.warn("read", error));
    }, TELL_DELAY_MS);
  }

  private at(target: Target): Entry {
    const known = this.all.get(keyOf(target));
    if (known) return known;
    const entry: Entry = { target, newest: null, preview: "", activeAtMs: Date.now(), unread: 0, isMeant: false, peerReadSeq: 0, pinnedRank: 0, isMuted: false, isMarkedUnread: false, isHidden: false };
    this.all.set(keyOf(target), entry);
    return entry;
  }

  private async take(conversation: Conversation, rank: number): Promise<void> {
    const { target, newest, activeAtMs, isPinned, isMuted, isMarkedUnread } = conversation;
    const entry = this.at(target);
    if (newest && !entry.newest) {
      this.chat.people.learn(newest);
      entry.newest = newest;
      entry.preview = conversation.isContentLeftOut ? conversation.preview || text.unknown : "";
    }
    if (!entry.newest || activeAtMs > entry.activeAtMs) entry.activeAtMs = activeAtMs;
    Object.assign(entry, { isMuted, isMarkedUnread, pinnedRank: isPinned ? rank : 0 });
    entry.peerReadSeq = Math.max(entry.peerReadSeq, conversation.peerReadSeq);
    if (conversation.readSeq > 0) await this.readUpTo(target, conversation.readSeq, conversation.readMessageId);
    await this.count(entry);
  }

  private apply(target: Peer, fields: ConversationFields): void {
    const entry = this.at(target);
    if (fields.isPinned !== undefined) entry.pinnedRank = fields.isPinned ? Date.now() : 0;
    if (fields.isMuted !== undefined) entry.isMuted = fields.isMuted;
    if (fields.isMarkedUnread !== undefined) entry.isMarkedUnread = fields.isMarkedUnread;
    if (fields.isHidden !== undefined) entry.isHidden = fields.isHidden;
  }

  private async forget(target: Target): Promise<void> {
    this.all.delete(keyOf(target));
    const { talk } = this.chat;
    if (talk && keyOf(talk.target) === keyOf(target)) location.hash = "";
    await this.chat.store.forget(target).catch((error) => this.chat.tell(error));
    this.chat.changed();
  }

  // Once for many that were recalled together.
  private recountSoon(): void {
    this.recounting ??= setTimeout(() => { this.recounting = undefined; void this.recount(); }, RECOUNT_DELAY_MS);
  }

  private async recount(): Promise<void> {
    for (const entry of this.all.values()) {
      if (entry.target.kind === "room") continue;
      const [newest] = await this.chat.store.messages(entry.target, Infinity, 1).catch(() => []);
      if (newest) Object.assign(entry, { newest, preview: "" });
      if (entry.unread > 0) await this.count(entry);
    }
    this.chat.changed();
  }

  private async count(entry: Entry): Promise<void> {
    const recent = await this.chat.store.messages(entry.target, Infinity, UNREAD_MAX).catch(() => []);
    const unread = recent.filter((message) => this.isUnread(entry.target, message));
    Object.assign(entry, { unread: unread.length, isMeant: unread.some((message) => isMeant(message, this.chat.account.user_id)) });
  }

  private readKey(target: Target): string {
    return `gim read ${this.chat.account.user_id} ${keyOf(target)}`;
  }

  private readNumber(target: Target): number {
    return Number(localStorage.getItem(this.readKey(target)) ?? 0);
  }
}
