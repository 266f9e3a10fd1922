// What this page sent and is not answered yet, and what could not be sent: that stays until it is sent again or discarded.

import { contentOf, encodeContent, type ContentFields, type ContentKind, type Target } from "gim-client";
import type { Chat } from "./chat";
import { wordsSaid, type Line, type Said } from "./lines";
import { keyOf } from "./route";

export type Sent = Line & { target: Target; said: Said };

// As it is kept: bytes in base64.
type Failed = Pick<Sent, "key" | "target" | "createdAtMs" | "problem"> & { command: number; content: string };

const FAILED_MAX = 50;
// The browser has little room, and what was read has to be noted there as well.
const FAILED_CHARS_MAX = 500_000;

export class Outgoing {
  private readonly lines = new Map<string, Sent>();

  constructor(private readonly chat: Chat) {}

  async load(): Promise<void> {
    for (const { key, target, createdAtMs, problem, command, content } of this.readFailed()) {
      try {
        const said = { command, content: Uint8Array.from(atob(content), (character) => character.charCodeAt(0)) };
        Object.assign(this.put(key, target, said, createdAtMs), { state: "failed", problem });
      } catch (error) {
        console.warn("what was not sent", error);
      }
    }
    const { outbox } = await this.chat.store.load();
    for (const send of outbox) this.put(send.clientMsgId, send.target, send, send.createdAtMs);
  }

  of(target: Target): Sent[] {
    return [...this.lines.values()].filter((line) => keyOf(line.target) === keyOf(target));
  }

  send<K extends ContentKind>(target: Target, kind: K, fields: ContentFields<K>): void {
    this.sendSaid(target, encodeContent(kind, fields));
  }

  // As it is, whatever it is: what is forwarded, or sent again.
  sendSaid(target: Target, said: Said): void {
    const clientMsgId = this.chat.client.send(target, said.content, { command: said.command });
    // A send may be refused at once.
    const line = this.lines.get(clientMsgId) ?? this.put(clientMsgId, target, said, Date.now());
    const { talk } = this.chat;
    if (talk && keyOf(talk.target) === keyOf(target)) talk.addOutgoing(line);
    this.chat.changed();
  }

  sendAgain(line: Line): void {
    const { target, said } = line as Sent;
    this.discard(line);
    this.sendSaid(target, said);
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

  private put(key: string, target: Target, { command, content }: Said, createdAtMs: number): Sent {
    const said = { command, content };
    const line: Sent = { key, target, message: null, said, content: contentOf(said), text: wordsSaid(said), createdAtMs, isOwn: true, state: "sending", problem: "" };
    this.lines.set(key, line);
    return line;
  }

  private get failedKey(): string {
    return `gim failed ${this.chat.account.user_id}`;
  }

  private readFailed(): Failed[] {
    try {
      const kept: unknown = JSON.parse(localStorage.getItem(this.failedKey) ?? "[]");
      // A former version of the page kept them otherwise.
      return Array.isArray(kept) ? kept.filter((one) => typeof one?.content === "string" && typeof one.target?.id === "string") : [];
    } catch {
      return [];
    }
  }

  private keepFailed(): void {
    const failed = [...this.lines.values()].filter(({ state }) => state === "failed").slice(-FAILED_MAX);
    const kept = failed.map(({ key, target, createdAtMs, problem, said }): Failed => {
      const content = btoa(Array.from(said.content, (byte) => String.fromCharCode(byte)).join(""));
      return { key, target, createdAtMs, problem, command: said.command, content };
    });
    // The newest ones.
    for (let chars = kept.reduce((sum, { content }) => sum + content.length, 0); chars > FAILED_CHARS_MAX; ) chars -= kept.shift()!.content.length;
    try {
      localStorage.setItem(this.failedKey, JSON.stringify(kept));
    } catch {
      // The browser is out of room: they are kept until the page is closed.
    }
  }
}
