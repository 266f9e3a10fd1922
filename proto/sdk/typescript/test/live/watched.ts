// A client whose app remembers all that it saw.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";
import { Client, textOf, type ClientOptions, type Message } from "../../src/index.js";

const DEADLINE_MS = 120_000;

export class Watched {
  readonly seen: Message[] = [];
  readonly outcomes = new Map<string, string>();
  readonly client: Client;

  constructor(readonly name: string, options: ClientOptions) {
    this.client = new Client({ WebSocket: WebSocket as never, heartbeatMs: 1000, answerTimeoutMs: 1500, startAt: "first", ...options });
    this.client.on("message", (message) => { this.seen.push(message); });
    this.client.on("sent", ({ clientMsgId }) => { this.outcomes.set(clientMsgId, "sent"); });
    this.client.on("failed", ({ clientMsgId, code, message }) => { this.outcomes.set(clientMsgId, `${code} ${message}`); });
    this.client.start();
  }

  texts(userId: string): string[] {
    return this.seen.filter((message) => message.from?.userId === userId && message.roomId === "0").map(textOf);
  }

  // The inbox, from 1 on, with nothing missing, doubled or out of order.
  checkInbox(): void {
    const seqs = this.seen.map((message) => message.seq).filter((seq) => seq > 0);
    assert.deepEqual(seqs, seqs.map((_, index) => index + 1), `${this.name}: the inbox has holes or is out of order`);
  }
}

export async function until(what: string, condition: () => boolean): Promise<void> {
  const from = Date.now();
  while (!condition()) {
    if (Date.now() - from > DEADLINE_MS) throw new Error(`it takes too long until ${what}`);
    await sleep(20);
  }
}
