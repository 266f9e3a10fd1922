// The room that the app is in. A connection knows no room until it subscribes, so this remembers which one, and how far it was seen.

import type { Message } from "../message.js";

// Messages by which a repeated one is recognised.
const SEEN_MAX = 512;

export class Room {
  roomId = "0";
  private fromStart = false;
  private highestSeq = 0;
  private readonly seen = new Set<string>();
  // When to ask again after the server put it off.
  retryAtMs = Infinity;

  enter(roomId: string, fromStart: boolean): void {
    if (roomId !== this.roomId) {
      this.highestSeq = 0;
      this.seen.clear();
    }
    this.roomId = roomId;
    this.fromStart = fromStart;
    this.retryAtMs = Infinity;
  }

  get fields(): { roomId: bigint; seq: bigint; fromStart: boolean } {
    return { roomId: BigInt(this.roomId), seq: BigInt(this.highestSeq), fromStart: this.fromStart && this.highestSeq === 0 };
  }

  // Whether the message is a new one. Urgent ones come before lower numbers, so a lower number alone says nothing.
  isNew(message: Message): boolean {
    if (message.roomId !== this.roomId) return true;
    const id = `${message.roomSeq} ${message.messageId}`;
    if (this.seen.has(id)) return false;
    this.seen.add(id);
    if (this.seen.size > SEEN_MAX) for (const oldest of this.seen) { this.seen.delete(oldest); break; }
    this.highestSeq = Math.max(this.highestSeq, message.roomSeq);
    return true;
  }
}
