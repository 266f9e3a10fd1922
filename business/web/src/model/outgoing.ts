// What this page sent and is not answered yet, and what could not be sent: that stays until it is sent again or discarded.

import { textOf, type Target } from "gim-client";
import type { Chat } from "./chat";
import type { Line } from "./lines";
import { keyOf } from "./route";

export type Sent = Line & { target: Target };

const FAILED_MAX = 50;

export class Outgoing {
  private readonly lines = new Map<string, Sent>();

  constructor(private readonly chat: Chat) {}

  async load(): Promise<void> {
    for (const failed of this.readFailed()) this.lines.set(failed.key, failed);
    const { outbox } = await this.chat.store.load();
    for (const send of outbox) this.put(send.clientMsgId, send.target, textOf(send), send.createdAtMs);
  }

  of(target: Target): Sent[] {
    return [...this.lines.values()].filter((line) => keyOf(line.target) === keyOf(target));
  }

  send(target: Target, words: string): void {
    const clientMsgId = this.chat.client.send(target, words);
    // A send may be refused at once.
    const line = this.lines.get(clientMsgId) ?? this.put(clientMsgId, target, words, Date.now());
    const { talk } = this.chat;
    if (talk && keyOf(talk.target) === keyOf(target)) talk.addOutgoing(line);
    this.chat.changed();
  }

  sendAgain(line: Line): void {
    const { target, text } = line as Sent;
    this.discard(line);
    this.send(target, text);
  }

  discard(line: Line): void {
    this.lines.delete(line.key);
    this.chat.talk?.remove(line.key);
    this.keepFailed();
    this.chat.changed();
  }

  onSent(clientMsgId: string, messageId: string, createdAtMs: number): void {
    const line = this.lines.get(clientMsgId);
    this.lines.delete(clientMsgId);
    if (line) this.chat.talk?.onSent(line, messageId, createdAtMs);
    this.chat.changed();
  }

  onFailed(clientMsgId: string, problem: string): void {
    const line = this.lines.get(clientMsgId);
    if (!line) return;
    line.state = "failed";
    line.problem = problem;
    this.keepFailed();
    this.chat.changed();
  }

  private put(key: string, target: Target, words: string, createdAtMs: number): Sent {
    const line: Sent = { key, target, message: null, text: words, createdAtMs, isOwn: true, state: "sending", problem: "" };
    this.lines.set(key, line);
    return line;
  }

  private get failedKey(): string {
    return `gim failed ${this.chat.account.user_id}`;
  }

  private readFailed(): Sent[] {
    try {
      return JSON.parse(localStorage.getItem(this.failedKey) ?? "[]");
    } catch {
      return [];
    }
  }

  private keepFailed(): void {
    const failed = [...this.lines.values()].filter(({ state }) => state === "failed").slice(-FAILED_MAX);
    try {
      localStorage.setItem(this.failedKey, JSON.stringify(failed));
    } catch {
      // The browser is out of room: they are kept until the page is closed.
    }
  }
}
