// A server of the tests, whose answers they choose, and a client of it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket, WebSocketServer, type WebSocket as Peer } from "ws";
import { Client, type ClientOptions, type Message } from "../src/index.js";
import { MessageSchema, PacketSchema, ReplySchema, SendReplySchema } from "../src/generated/connect_pb.js";
import { UserMessagePushSchema } from "../src/generated/logic_pb.js";
import { decodePacket, encode, PacketCommand } from "../src/wire.js";

export type Handler = (peer: Peer, command: number, requestId: string, content: Uint8Array) => void;

// A server that answers as it should, but for what `handler` does.
export class Server {
  readonly server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  connections = 0;

  constructor(handler: Handler = answer, onConnection: (peer: Peer) => void = () => {}) {
    this.server.on("connection", (peer) => {
      this.connections += 1;
      peer.on("error", () => {});
      peer.on("message", (data: Buffer) => {
        const packet = decodePacket(new Uint8Array(data));
        handler(peer, packet.command, packet.requestId, packet.content);
      });
      onConnection(peer);
    });
  }

  async url(): Promise<string> {
    if (!this.server.address()) await once(this.server, "listening");
    return `ws://127.0.0.1:${(this.server.address() as { port: number }).port}/ws`;
  }

  close(): void {
    for (const peer of this.server.clients) peer.terminate();
    this.server.close();
  }
}

export function answer(peer: Peer, command: number, requestId: string): void {
  if (command === PacketCommand.PC_MESSAGE_ACK) return;
  reply(peer, command, requestId, 0, command === PacketCommand.PC_SEND ? encode(SendReplySchema, { messageId: 500n, seq: 1n }) : new Uint8Array());
}

export function reply(peer: Peer, command: number, requestId: string, code: number, data: Uint8Array = new Uint8Array()): void {
  peer.send(encode(PacketSchema, { command, requestId, content: encode(ReplySchema, { code, data }) }));
}

export function push(peer: Peer, seq: number, text: string, more: object = {}): void {
  const content = encode(UserMessagePushSchema, { fromUser: { userId: 8n }, toUserId: 7n, content: new TextEncoder().encode(text) });
  const message = { command: 1, content, isFromUser: true, seq: BigInt(seq), prevSeq: BigInt(seq - 1), messageId: BigInt(1000 + seq), ...more };
  peer.send(encode(PacketSchema, { command: PacketCommand.PC_MESSAGE, content: encode(MessageSchema, message) }));
}

export async function withClient(server: Server, options: Partial<ClientOptions>, body: (client: Client, seen: Message[], errors: string[]) => Promise<void>): Promise<void> {
  const client = new Client({ userId: 7, deviceId: 70, getToken: () => "t", WebSocket: WebSocket as never, ...options, url: options.url ?? (await server.url()) });
  const seen: Message[] = [];
  const errors: string[] = [];
  client.on("message", (message) => { seen.push(message); });
  client.on("error", ({ about }) => { errors.push(about); });
  client.start();
  try {
    await body(client, seen, errors);
  } finally {
    await client.stop();
    server.close();
  }
}

export async function until(condition: () => boolean): Promise<void> {
  for (const from = Date.now(); !condition(); await sleep(5)) assert.ok(Date.now() - from < 10_000, `it takes too long until ${condition}`);
}
