// Who of the group that is open has read what this user said: asked for the lines in view, from then on told by the server.

import type { ReadMark } from "gim-client";
import type { Chat } from "./chat";
import type { Line } from "./lines";

// Readers in the answer to one question. Of more only the number is known.
const NAMED_MAX = 100;

export interface Readers {
  count: number;
  // Those whose names are known, in no order.
  userIds: string[];
  isEverybody: boolean;
}

interface Known {
  userIds: Set<string>;
  // At least so many, where they are more than are named; otherwise 0.
  count: number;
  // Otherwise the server is asked once the line is in view.
  isFresh: boolean;
}

export class GroupReaders {
  private readonly known = new Map<string, Known>();
  private readonly inView = new Set<string>();
  // Lines in view that wait to be asked for, each once.
  private wanted: string[] = [];
  private isAsking = false;
  private isOpen = true;

  constructor(
    private readonly chat: Chat,
    private readonly groupId: string,
    private readonly lines: () => Line[],
  ) {}

  close(): void {
    this.isOpen = false;
    this.wanted = [];
  }

  // null where it is not known yet.
  of(messageId: string): Readers | null {
    const known = this.known.get(messageId);
    if (!known) return null;
    const count = this.countOf(known);
    return { count, userIds: [...known.userIds], isEverybody: this.isEverybody(known) };
  }

  // A line comes into view; returns what tells that it goes out of view again.
  watch(messageId: string): () => void {
    this.inView.add(messageId);
    if (!this.known.get(messageId)?.isFresh) this.want(messageId);
    return () => {
      this.inView.delete(messageId);
      this.wanted = this.wanted.filter((other) => other !== messageId);
    };
  }

  // Somebody has read up to a message, and everything before it.
  onRead({ userId, seq }: ReadMark): void {
    if (userId === this.chat.account.user_id) return;
    for (const { key, message } of this.lines()) {
      const known = this.known.get(key);
      if (!known || !message || message.groupSeq > seq || known.userIds.has(userId)) continue;
      // Who is not named may be counted already.
      if (known.count > 0) this.askAgain(key, known);
      else known.userIds.add(userId);
    }
  }

  // They are in the group no longer.
  leave(userIds: string[]): void {
    for (const [key, known] of this.known) {
      for (const userId of userIds) known.userIds.delete(userId);
      if (known.count === 0) continue;
      // Those who had not read are not counted in it.
      known.count = Math.max(1, known.count - userIds.length);
      this.askAgain(key, known);
    }
  }

  // What was told while there was no connection is not known.
  forget(): void {
    for (const [key, known] of this.known) if (!this.isEverybody(known)) this.askAgain(key, known);
  }

  private askAgain(messageId: string, known: Known): void {
    known.isFresh = false;
    if (this.inView.has(messageId)) this.want(messageId);
  }

  private want(messageId: string): void {
    if (!this.isOpen || this.wanted.includes(messageId)) return;
    this.wanted.push(messageId);
    if (!this.isAsking) void this.ask();
  }

  private countOf({ userIds, count }: Known): number {
    return Math.max(userIds.size, count);
  }

  private isEverybody(known: Known): boolean {
    const members = this.chat.people.groups.get(this.groupId)?.memberCount ?? Infinity;
    return this.countOf(known) > 0 && this.countOf(known) >= members - 1;
  }

  // The newest line is asked for first: whom all have read up to there, they have read everything before.
  private async ask(): Promise<void> {
    this.isAsking = true;
    // All that are wanted at this moment are there.
    await null;
    for (let messageId = this.takeNewest(); messageId !== undefined; messageId = this.takeNewest()) {
      // It is there from now on, for what is told before the answer comes.
      const known: Known = this.known.get(messageId) ?? { userIds: new Set(), count: 0, isFresh: false };
      this.known.set(messageId, known);
      const found = this.laterOne(messageId) ?? (await this.answer(messageId));
      if (!found) continue;
      for (const userId of found.userIds) known.userIds.add(userId);
      Object.assign(known, { count: found.count, isFresh: true });
      this.chat.changed();
    }
    this.isAsking = false;
  }

  private takeNewest(): string | undefined {
    const newest = this.lines().findLast(({ key }) => this.wanted.includes(key))?.key;
    this.wanted = newest === undefined ? [] : this.wanted.filter((messageId) => messageId !== newest);
    return newest;
  }

  // A later line that everybody has read.
  private laterOne(messageId: string): Known | undefined {
    const lines = this.lines();
    const place = lines.findLastIndex(({ key }) => key === messageId);
    if (place < 0) return undefined;
    for (const { key } of lines.slice(place + 1)) {
      const known = this.known.get(key);
      if (known && this.isEverybody(known)) return known;
    }
    return undefined;
  }

  // null where it cannot be had: what is known stays, and is asked for again when the line comes into view, or after the next connect. (A
  // backend of its own may not let clients ask; then nobody is said to have read.)
  private async answer(messageId: string): Promise<Omit<Known, "isFresh"> | null> {
    const own = this.chat.account.user_id;
    try {
      const { userIds, count } = await this.chat.client.conversations.readers(this.groupId, messageId);
      const others = new Set(userIds.filter((userId) => userId !== own));
      return { userIds: others, count: count > NAMED_MAX ? count - (userIds.length - others.size) : 0 };
    } catch (error) {
      console.warn("readers", error);
      return null;
    }
  }
}
