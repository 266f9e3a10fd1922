// Who of the group that is open has read what this user said: asked for the lines in view, from then on told by the server.

import type { ReadMark } from "gim-client";
import type { Chat } from "./chat";
import type { Line } from "./lines";

// Lines that wait to be asked for; those that went out of view long ago are given up first.
const WANTED_MAX = 50;
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
  // Of more than are named; otherwise 0.
  count: number;
  isFresh: boolean;
}

export class GroupReaders {
  private readonly known = new Map<string, Known>();
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

  // A line is in view.
  want(messageId: string): void {
    if (this.known.get(messageId)?.isFresh || this.wanted.includes(messageId)) return;
    this.wanted = [...this.wanted, messageId].slice(-WANTED_MAX);
    if (!this.isAsking) void this.ask();
  }

  // Somebody has read up to a line, and everything before it.
  onRead({ userId, messageId }: ReadMark): void {
    const lines = this.lines();
    const place = lines.findLastIndex(({ key }) => key === messageId);
    if (userId === this.chat.account.user_id) return;
    if (place < 0) return this.forget();
    for (const { key } of lines.slice(0, place + 1)) this.known.get(key)?.userIds.add(userId);
  }

  // They are in the group no longer.
  leave(userIds: string[]): void {
    for (const known of this.known.values()) for (const userId of userIds) known.userIds.delete(userId);
  }

  // What was told while there was no connection is not known.
  forget(): void {
    for (const known of this.known.values()) known.isFresh = this.isEverybody(known);
    for (const { key } of this.lines()) if (this.known.has(key)) this.want(key);
  }

  private countOf({ userIds, count }: Known): number {
    return Math.max(userIds.size, count);
  }

  private isEverybody(known: Known): boolean {
    const members = this.chat.people.groups.get(this.groupId)?.memberCount ?? Infinity;
    return this.countOf(known) > 0 && this.countOf(known) >= members - 1;
  }

  // The line that was wanted last is the newest one most of the time: whom all have read up to there, they have read everything before.
  private async ask(): Promise<void> {
    this.isAsking = true;
    for (let messageId = this.wanted.pop(); messageId !== undefined && this.isOpen; messageId = this.wanted.pop()) {
      // It is there from now on, for what is told before the answer comes.
      const known = this.known.get(messageId) ?? { userIds: new Set(), count: 0, isFresh: false };
      this.known.set(messageId, known);
      const { userIds, count } = this.laterOne(messageId) ?? (await this.answer(messageId));
      for (const userId of userIds) known.userIds.add(userId);
      Object.assign(known, { count, isFresh: true });
      this.chat.changed();
    }
    this.isAsking = false;
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

  // A backend of its own may not let clients ask; then nobody is said to have read.
  private async answer(messageId: string): Promise<Omit<Known, "isFresh">> {
    const own = this.chat.account.user_id;
    try {
      const { userIds, count } = await this.chat.client.conversations.readers(this.groupId, messageId);
      const others = new Set(userIds.filter((userId) => userId !== own));
      return { userIds: others, count: count > NAMED_MAX ? count - (userIds.length - others.size) : 0 };
    } catch (error) {
      console.warn("readers", error);
      return { userIds: new Set(), count: 0 };
    }
  }
}
