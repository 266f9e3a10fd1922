// The cursors of the inbox and of the large groups: which message is the next one, and when something is missing. It does no IO
// and knows no time; `Core` sends the syncs that it asks for.

import type { Message as WireMessage } from "../generated/connect_pb.js";
import type { SyncReply } from "../generated/logic_pb.js";
import { toMessage, type Message } from "../message.js";
import type { CoreEvent, Cursors } from "./types.js";

// Ids of delivered messages that are remembered, by which those of a server that lost numbers are recognised.
const DELIVERED_MAX = 10_000;

export interface SyncFields {
  seq: bigint;
  fromStart: boolean;
  largeGroups: true;
  groupCursors: { groupId: bigint; seq: bigint }[];
}

export class Timelines {
  // Messages that are to be delivered.
  taken: Message[] = [];
  events: CoreEvent[] = [];
  private newest = 0;
  private readonly groupsNewest = new Map<string, number>();
  private readonly delivered: Set<string>;
  // The first run of syncs of a new device: groups begin where the user's other devices are.
  private isBeginning: boolean;
  private isHinted = false;
  // Some numbers stand for other messages now, message ids do not.
  private isRecovering = false;

  constructor(
    private readonly ownUserId: string,
    private readonly startAt: "devices" | "first",
    readonly cursors: Cursors,
    delivered: Iterable<string>,
  ) {
    this.isBeginning = cursors.inbox === null;
    this.delivered = new Set(delivered);
  }

  push(wire: WireMessage): void {
    const message = toMessage(wire, this.ownUserId);
    if (message.groupSeq > 0) this.pushOfGroup(message, Number(wire.prevGroupSeq));
    else if (message.seq > 0) this.pushOfInbox(message, Number(wire.prevSeq));
    else this.taken.push(message);
  }

  private pushOfInbox(message: Message, prevSeq: number): void {
    this.newest = Math.max(this.newest, message.seq);
    if (this.cursors.inbox === prevSeq) this.take(message);
  }

  private pushOfGroup(message: Message, prevSeq: number): void {
    this.raiseGroup(message.groupId, message.groupSeq);
    if (this.cursors.groups.get(message.groupId) === prevSeq) this.take(message);
  }

  // A heartbeat's answer.
  sawNewest(seq: number): void {
    this.newest = Math.max(this.newest, seq);
  }

  // Something was not pushed, or nobody knows: ask.
  hint(): void {
    this.isHinted = true;
  }

  // The answer to a send takes the place of its push. Returns whether `message` is the next one of its timeline.
  sent(message: Message, targetKind: "user" | "group"): boolean {
    if (targetKind === "user") {
      this.newest = Math.max(this.newest, message.seq);
      if (this.cursors.inbox === null || message.seq !== this.cursors.inbox + 1) return false;
    } else {
      const cursor = this.cursors.groups.get(message.groupId);
      // Of a group that is not known to be large, nobody can tell whose number the seq is.
      if (cursor === undefined) {
        this.isHinted = true;
        return false;
      }
      this.raiseGroup(message.groupId, message.seq);
      if (message.seq !== cursor + 1) return false;
      message.groupSeq = message.seq;
      message.seq = 0;
    }
    this.take(message);
    return true;
  }

  get wantsSync(): boolean {
    if (this.isHinted || this.cursors.inbox === null || this.newest > this.cursors.inbox) return true;
    for (const [groupId, newest] of this.groupsNewest) {
      if (newest > (this.cursors.groups.get(groupId) ?? 0)) return true;
    }
    return false;
  }

  beginSync(): SyncFields {
    this.isHinted = false;
    const groupCursors = [...this.cursors.groups].map(([groupId, seq]) => ({ groupId: BigInt(groupId), seq: BigInt(seq) }));
    // Once a device has begun, a group that it does not know is one that its user came into: nothing of it may be passed over.
    const fromStart = this.startAt === "first" || !this.isBeginning;
    return { seq: BigInt(this.cursors.inbox ?? 0), fromStart, largeGroups: true, groupCursors };
  }

  // Returns whether it brought anything.
  page(reply: SyncReply): boolean {
    const before = this.cursors.inbox;
    const startSeq = Number(reply.startSeq);
    this.noteGap("0", before ?? 0, Math.max(startSeq, Number(reply.messages[0]?.prevSeq ?? 0)));
    this.cursors.inbox = Math.max(before ?? 0, startSeq);
    let hasBrought = this.cursors.inbox !== before;
    for (const wire of reply.messages) {
      if (Number(wire.seq) <= this.cursors.inbox) continue;
      hasBrought = true;
      this.take(toMessage(wire, this.ownUserId));
    }
    for (const page of reply.groups) {
      const groupId = String(page.groupId);
      const cursor = this.cursors.groups.get(groupId) ?? 0;
      this.raiseGroup(groupId, Number(page.newestSeq));
      this.noteGap(groupId, cursor, Number(page.messages[0]?.prevGroupSeq ?? 0));
      for (const wire of page.messages) {
        if (Number(wire.groupSeq) <= (this.cursors.groups.get(groupId) ?? 0)) continue;
        hasBrought = true;
        this.take(toMessage(wire, this.ownUserId));
      }
    }
    const hasMore = reply.hasMore || reply.groupsHaveMore;
    if (hasMore) this.isHinted = true;
    else this.isBeginning = false;
    if (!this.wantsSync) this.isRecovering = false;
    return hasBrought;
  }

  // What was promised did not come in several syncs: its group was left, for instance.
  giveUpWaiting(): void {
    this.isHinted = false;
    this.newest = this.cursors.inbox ?? 0;
    this.groupsNewest.clear();
  }

  // The server was restored from an older backup.
  beginAnew(reply: SyncReply): void {
    this.isRecovering = true;
    this.isHinted = true;
    const group = reply.groups[0];
    if (group) {
      this.cursors.groups.delete(String(group.groupId));
      this.groupsNewest.delete(String(group.groupId));
    } else {
      this.cursors.inbox = 0;
      this.newest = Number(reply.startSeq);
    }
  }

  private noteGap(groupId: string, afterSeq: number, beforeSeq: number): void {
    if (afterSeq > 0 && beforeSeq > afterSeq) this.events.push({ type: "gap", groupId, afterSeq, beforeSeq: beforeSeq + 1 });
  }

  private raiseGroup(groupId: string, seq: number): void {
    this.groupsNewest.set(groupId, Math.max(seq, this.groupsNewest.get(groupId) ?? 0));
  }

  private take(message: Message): void {
    if (message.groupSeq > 0) this.cursors.groups.set(message.groupId, message.groupSeq);
    else this.cursors.inbox = message.seq;
    // Of a server that gives no ids, nothing is recognised.
    if (message.messageId === "0") return void this.taken.push(message);
    const id = idOf(message);
    const isKnown = this.delivered.has(id);
    this.delivered.add(id);
    if (this.delivered.size > DELIVERED_MAX) for (const oldest of this.delivered) { this.delivered.delete(oldest); break; }
    if (!isKnown || !this.isRecovering) this.taken.push(message);
  }
}

// A recall has the id of the message that it takes back.
export function idOf(message: Message): string {
  return message.status === "normal" ? message.messageId : `${message.messageId} ${message.status}`;
}
