// What was sent and is not answered. One message at a time is under way to each target, so that none overtakes another, whatever
// is put off or sent again.

import { Backoff } from "./backoff.js";
import type { PendingSend } from "./types.js";

// Messages that are under way to all targets together.
const UNDER_WAY_MAX = 16;

// Messages that wait for an answer; more are refused at once.
export const OUTBOX_MAX = 1000;

export class Outbox {
  private readonly sends = new Map<string, PendingSend>();
  private readonly underWay = new Map<string, string>();
  private readonly pause: Backoff;
  private pausedUntilMs = 0;

  constructor(sends: PendingSend[], random: () => number) {
    for (const send of sends) this.sends.set(send.clientMsgId, send);
    // So long, at most, a message waits once the server is well again.
    this.pause = new Backoff(2000, 5_000, random);
  }

  get isFull(): boolean {
    return this.sends.size >= OUTBOX_MAX;
  }

  has(clientMsgId: string): boolean {
    return this.sends.has(clientMsgId);
  }

  add(send: PendingSend): void {
    this.sends.set(send.clientMsgId, send);
  }

  // Those that may go out now, oldest first; they are under way from here on.
  takeReady(nowMs: number): PendingSend[] {
    if (nowMs < this.pausedUntilMs) return [];
    this.pausedUntilMs = 0;
    const ready: PendingSend[] = [];
    for (const send of this.sends.values()) {
      if (this.underWay.size >= UNDER_WAY_MAX) break;
      const target = `${send.target.kind} ${send.target.id}`;
      if (this.underWay.has(target)) continue;
      this.underWay.set(target, send.clientMsgId);
      ready.push(send);
    }
    return ready;
  }

  // It was answered: what comes next to its target may go out.
  settle(clientMsgId: string): PendingSend | undefined {
    const send = this.sends.get(clientMsgId);
    this.sends.delete(clientMsgId);
    if (send) this.underWay.delete(`${send.target.kind} ${send.target.id}`);
    this.pause.reset();
    return send;
  }

  putOff(clientMsgId: string, nowMs: number): void {
    const send = this.sends.get(clientMsgId);
    if (send) this.underWay.delete(`${send.target.kind} ${send.target.id}`);
    if (nowMs >= this.pausedUntilMs) this.pausedUntilMs = nowMs + this.pause.next();
  }

  // The connection ended: what was under way goes out again on the next one.
  disconnected(): void {
    this.underWay.clear();
    this.pausedUntilMs = 0;
  }

  get deadlineMs(): number {
    return this.sends.size > this.underWay.size ? this.pausedUntilMs || Infinity : Infinity;
  }
}
