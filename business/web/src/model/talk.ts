// The conversation that is open: its lines in order, what is on its way last.

import { contentOf, type Member, type Message, type Notice, type ReadMark, type Target } from "gim-client";
import { text } from "../text";
import type { Chat } from "./chat";
import { EarlierHistory, PAGE, type Earlier } from "./earlier-history";
import { GroupReaders } from "./group-readers";
import { lineOf, numberOf, wordsOf, type Line } from "./lines";
import type { Sent } from "./outgoing";
import { RoomMembers } from "./room-members";

// Pages that are looked through for a message that is answered.
const REVEAL_PAGES_MAX = 40;
// After so long it is asked again for what could not be had.
const EARLIER_RETRY_MS = 3000;

export class Talk {
  lines: Line[] = [];
  hasEarlier = false;
  isLoaded = false;
  // The key of the line above which what is new begins.
  unreadFrom = "";
  // Rises with each change of the lines.
  version = 0;
  // What came last from somebody else, for who cannot see it come.
  lastHeard = "";
  // Lines that were chosen to be forwarded; null while none can be.
  chosen: Set<string> | null = null;
  // The line that was asked for last, and how often one was.
  revealed = { key: "", count: 0 };
  // Of a room.
  readonly members: RoomMembers | null;
  // Of a group.
  readonly readers: GroupReaders | null;
  private readonly history: EarlierHistory;
  private readonly keys = new Set<string>();
  private loading: Promise<void> | null = null;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private mentionable: Promise<Member[]> | null = null;
  private isOpen = true;

  constructor(
    private readonly chat: Chat,
    readonly target: Target,
  ) {
    this.members = target.kind === "room" ? new RoomMembers(chat, target.id) : null;
    this.readers = target.kind === "group" ? new GroupReaders(chat, target.id, () => this.lines) : null;
    this.history = new EarlierHistory(chat, () => this.first);
  }

  private get first(): Message | null {
    return this.lines.find(({ message }) => message)?.message ?? null;
  }

  close(): void {
    this.isOpen = false;
    clearTimeout(this.retry);
    this.members?.close();
    this.readers?.close();
  }

  async load(): Promise<void> {
    const { chat, target } = this;
    const messages = target.kind === "room" ? chat.room?.messages ?? [] : await chat.store.messages(target, Infinity, PAGE).catch(() => []);
    if (!this.isOpen) return;
    this.hasEarlier = messages.length === PAGE && target.kind !== "room";
    this.putBefore(messages);
    this.unreadFrom = this.lines.find(({ message }) => message && chat.entries.isUnread(target, message))?.key ?? "";
    for (const line of chat.outgoing.of(target)) this.addOutgoing(line);
    this.isLoaded = true;
    this.markRead();
    chat.changed();
    if (!this.hasEarlier && (this.first || chat.isSynced)) await this.askEarlier();
  }

  // Only now it is known that this browser gets nothing more of what was said before.
  async onSynced(): Promise<void> {
    this.readers?.forget();
    if (this.isLoaded && !this.first) await this.askEarlier();
  }

  // What is before the first line.
  async loadEarlier(): Promise<void> {
    if (this.hasEarlier) await this.askEarlier();
  }

  // Whom a message here may mean, asked for once.
  namesToMention(): Promise<Member[]> {
    if (this.target.kind !== "group") return Promise.resolve([]);
    const { id } = this.target;
    this.mentionable ??= this.chat.people.membersOf(id).then((members) => {
      if (!members) this.mentionable = null;
      return members ?? [];
    });
    return this.mentionable;
  }

  // Shows a message, wherever it is in the conversation.
  async reveal(messageId: string): Promise<void> {
    for (let pages = 0; this.isOpen && pages < REVEAL_PAGES_MAX; pages++) {
      if (this.keys.has(messageId)) {
        this.revealed = { key: messageId, count: this.revealed.count + 1 };
        return this.chat.changed();
      }
      // Numbers of messages rise with time.
      const { first, version } = this;
      if (!this.hasEarlier || (first && BigInt(first.messageId) < BigInt(messageId))) break;
      await this.askEarlier();
      if (this.version === version) break;
    }
    if (this.isOpen) this.chat.say(text.notFoundHere);
  }

  choose(key: string): void {
    if (!this.chosen?.delete(key)) (this.chosen ??= new Set()).add(key);
    this.chat.changed();
  }

  chooseNone(): void {
    this.chosen = null;
    this.chat.changed();
  }

  // One at a time, for whoever asks meanwhile.
  private askEarlier(): Promise<void> {
    this.loading ??= this.askOnce().finally(() => { this.loading = null; });
    return this.loading;
  }

  // From this browser, then from the server.
  private async askOnce(): Promise<void> {
    const { target } = this;
    if (target.kind === "room") return;
    const peer = { kind: target.kind, id: target.id };
    const earlier = (await this.storedEarlier()) ?? (await this.history.earlier(peer));
    clearTimeout(this.retry);
    // Lines that all fit in view are not scrolled, so nobody else would ask.
    if (this.isOpen && earlier.messages.length === 0 && earlier.hasMore) this.retry = setTimeout(() => void this.askEarlier(), EARLIER_RETRY_MS);
    if (!this.isOpen || (earlier.messages.length === 0 && earlier.hasMore === this.hasEarlier)) return;
    this.putBefore(earlier.messages);
    this.hasEarlier = earlier.hasMore;
    this.markRead();
    this.chat.changed();
  }

  // null where this browser has no more.
  private async storedEarlier(): Promise<Earlier | null> {
    const { first } = this;
    if (!first || this.history.isBegun) return null;
    const messages = await this.chat.store.messages(this.target, numberOf(first), PAGE).catch(() => []);
    // The server may have more than this browser.
    return messages.length > 0 ? { messages, hasMore: true } : null;
  }

  addOutgoing(line: Sent): void {
    if (this.keys.has(line.key)) return;
    this.keys.add(line.key);
    this.lines.push(line);
    this.version += 1;
  }

  remove(key: string): void {
    if (!this.keys.delete(key)) return;
    this.lines = this.lines.filter((line) => line.key !== key);
    this.chosen?.delete(key);
    this.version += 1;
  }

  // An answer: the same message comes as a message as well, before or after.
  onSent(line: Sent, messageId: string, createdAtMs: number): void {
    if (!this.keys.has(line.key)) return;
    if (this.keys.has(messageId)) return this.remove(line.key);
    this.keys.delete(line.key);
    this.keys.add(messageId);
    Object.assign(line, { key: messageId, state: "sent", createdAtMs });
    this.version += 1;
  }

  onMessage(message: Message): void {
    const known = this.keys.has(message.messageId) ? this.lines.find(({ key }) => key === message.messageId) : undefined;
    if (message.status !== "normal") {
      if (known) this.replace(known, message);
      return;
    }
    if (known?.message) return;
    for (const key of [known?.key, message.clientMsgId]) if (key) this.remove(key);
    const place = this.lines.findLastIndex((line) => line.message !== null) + 1;
    this.lines.splice(place, 0, lineOf(message, this.chat.people));
    this.keys.add(message.messageId);
    this.version += 1;
    if (message.isOwn) this.unreadFrom = "";
    else {
      this.lastHeard = `${message.from ? this.chat.people.nameOf({ kind: "user", id: message.from.userId }) : ""}: ${wordsOf(message, this.chat.people)}`;
      if (!isLookedAt() && !this.unreadFrom) this.unreadFrom = message.messageId;
    }
    this.markRead();
  }

  onRead(mark: ReadMark): void {
    if (mark.target.kind === "group" && mark.target.id === this.target.id) this.readers?.onRead(mark);
  }

  onNotice(notice: Notice): void {
    if (notice.kind === "members_removed" && notice.groupId === this.target.id) this.readers?.leave(notice.userIds);
  }

  markRead(): void {
    const newest = this.lines.findLast(({ message }) => message)?.message;
    if (!newest || !this.isLoaded || !isLookedAt()) return;
    this.chat.entries.read(this.target, newest);
  }

  private replace(line: Line, message: Message): void {
    if (message.status === "expired" || !line.message) return;
    line.message = { ...line.message, status: message.status, content: message.content };
    line.text = wordsOf(line.message, this.chat.people);
    line.content = message.status === "normal" ? contentOf(line.message) : null;
    this.version += 1;
  }

  private putBefore(messages: Message[]): void {
    const fresh = messages.filter(({ messageId }) => !this.keys.has(messageId));
    for (const { messageId } of fresh) this.keys.add(messageId);
    this.lines = [...fresh.map((message) => lineOf(message, this.chat.people)), ...this.lines];
    this.version += 1;
  }
}

function isLookedAt(): boolean {
  return document.hasFocus() && document.visibilityState === "visible";
}
