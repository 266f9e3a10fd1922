// Runs a vector of ../../vectors against the core. What the fields mean stands in the README there.

import assert from "node:assert/strict";
import { fromBinary, fromJson, toBinary, toJson, type DescMessage, type JsonValue } from "@bufbuild/protobuf";
import { Core } from "../src/core/core.js";
import type { Action, CoreEvent, PendingSend } from "../src/core/types.js";
import * as connect from "../src/generated/connect_pb.js";
import * as logic from "../src/generated/logic_pb.js";
import { textOf, type Message } from "../src/message.js";
import { decodePacket, type Target } from "../src/wire.js";

export type Json = { [name: string]: any };

const URL_OF_SERVER = "ws://server/ws";
// How long before a vector that begins signed in the connection came up: beyond the delay of acks.
const SIGNED_IN_MS = 3000;
const BYTES = ["content", "data", "body"];
// The message in the content of a request, by its command; what is asked of a service is left as it is.
const REQUESTS: { [command: string]: DescMessage } = {
  PC_SIGN_IN: connect.SignInRequestSchema, PC_SUBSCRIBE_ROOM: connect.SubscribeRoomRequestSchema, PC_SYNC: logic.SyncRequestSchema,
  PC_MESSAGE_ACK: logic.MessageACKRequestSchema, PC_SEND: connect.SendRequestSchema,
};

function schemaOf(name: string): DescMessage {
  const schema = (connect as Json)[`${name}Schema`] ?? (logic as Json)[`${name}Schema`];
  assert.ok(schema, `${name} is no message`);
  return schema;
}

// Bytes are written as text, or as the message that they hold.
function bytesOf(value: any): Uint8Array {
  if (typeof value === "string") return new TextEncoder().encode(value);
  const [[name, fields]] = Object.entries(value) as [[string, Json]];
  return toBinary(schemaOf(name), fromJson(schemaOf(name), base64Inside(fields)));
}

function base64Inside(value: any): any {
  if (Array.isArray(value)) return value.map(base64Inside);
  if (typeof value !== "object" || value === null) return value;
  const fields = Object.entries(value).map(([name, field]) =>
    [name, BYTES.includes(name) ? Buffer.from(bytesOf(field)).toString("base64") : base64Inside(field)]);
  return Object.fromEntries(fields);
}

export class Run {
  readonly core: Core;
  nowMs = 0;
  private readonly names = new Map<string, string>();
  private packets: Json[] = [];
  private seen: Json[] = [];
  private rest: Json = {};

  constructor(private readonly vector: Json) {
    const { cursor = null, groups = {}, unsent = [], delivered = [] } = vector.remembered ?? {};
    const cursors = { inbox: cursor, groups: new Map<string, number>(Object.entries(groups)) };
    this.core = new Core({
      userId: "7", deviceId: "70", appId: 0, url: vector.locates ? null : URL_OF_SERVER, heartbeatMs: null, answerTimeoutMs: 20_000,
      startAt: vector.start_at ?? "devices", random: () => vector.random ?? 1,
    }, { cursors, outbox: unsent.map((send: Json) => this.pendingSend(send)), delivered }, 0);
    if (vector.signed_in) this.signIn(cursor ?? 0);
  }

  // The connection is up, and there was nothing new.
  private signIn(cursor: number): void {
    this.nowMs = -SIGNED_IN_MS;
    this.core.start(0);
    this.core.onToken("a token", 0);
    this.core.onOpened(0);
    for (let packets = this.take().packets; packets.length > 0; packets = this.take().packets) {
      for (const { command, request_id } of packets) {
        if (command === "PC_HEARTBEAT") this.receive({ command, request_id, seq: cursor });
        else if (command === "PC_SYNC") this.receive({ command, request_id, content: { Reply: { data: { SyncReply: { start_seq: cursor } } } } });
        else if (command === "PC_SIGN_IN") this.receive({ command, request_id });
      }
    }
    this.advance(0);
    this.take();
  }

  run(): void {
    for (const [index, step] of (this.vector.steps as Json[]).entries()) {
      this.step(step);
      const { packets, seen, rest } = this.take();
      const where = `step ${index + 1}: ${JSON.stringify(step).slice(0, 200)}`;
      assert.deepEqual(this.picked(packets, step.packets ?? []), this.filledIn(step.packets ?? []), where);
      assert.deepEqual(this.picked(seen, step.seen ?? []), step.seen ?? [], where);
      const expected = Object.fromEntries(["gets_token", "locates", "connects", "disconnects"].flatMap((name) => (name in step ? [[name, step[name]]] : [])));
      assert.deepEqual(rest, expected, where);
    }
  }

  private step(step: Json): void {
    if (step.at_ms !== undefined) this.advance(step.at_ms);
    const now = this.nowMs + this.offsetMs;
    if (step.start) this.core.start(now);
    if (step.stop) this.core.stop();
    if (step.nudge) this.core.nudge(now);
    if (step.token !== undefined) this.core.onToken(step.token, now);
    if (step.located) {
      const { urls, heartbeat_ms = 0, first_ms = 0, max_ms = 0 } = step.located;
      this.core.onLocated({ urls, heartbeatMs: heartbeat_ms, firstMs: first_ms, maxMs: max_ms }, now);
    }
    if (step.fails) this.core.onFailed(step.fails, "it failed", now);
    if (step.opened) this.core.onOpened(now);
    if (step.closed) this.core.onClosed(now);
    if (step.packet) this.receive(step.packet);
    if (step.bytes) this.core.onBytes(Buffer.from(step.bytes, "hex"), now);
    if (step.send) this.core.send(this.pendingSend(step.send), now);
    if (step.call) this.core.request(this.callOf(step.call, now), now);
    if (step.enter_room) this.core.enterRoom(String(step.enter_room.room_id), step.enter_room.from_start ?? false, now);
  }

  // Vectors count from the end of the sign-in.
  private get offsetMs(): number {
    return this.vector.signed_in ? SIGNED_IN_MS : 0;
  }

  private advance(toMs: number): void {
    const untilMs = toMs + this.offsetMs;
    for (let turns = 0; this.core.deadlineMs <= untilMs; turns++) {
      assert.ok(turns < 1000, "the deadline does not move on");
      this.core.advance(this.core.deadlineMs);
      this.takeStored();
    }
    this.nowMs = toMs;
  }

  private receive(packet: Json): void {
    const { request_id = "", ...fields } = packet;
    const named = { ...fields, request_id: request_id.startsWith("$") ? this.names.get(request_id) : request_id };
    this.core.onBytes(bytesOf({ Packet: named }), this.nowMs + this.offsetMs);
    this.takeStored();
  }

  private pendingSend(send: Json): PendingSend {
    const [kind] = ["user", "group", "room"].filter((name) => `${name}_id` in send) as [Target["kind"]];
    const text = send.content_bytes ? "x".repeat(send.content_bytes) : send.content ?? "";
    return {
      clientMsgId: send.client_msg_id, target: { kind, id: String(send[`${kind}_id`]) }, command: send.command ?? 0,
      content: bytesOf(text), createdAtMs: send.created_at_ms ?? this.nowMs,
    };
  }

  private callOf(call: Json, now: number) {
    const content = bytesOf(call.content ?? "");
    return { requestId: call.name, command: call.command, content, isRepeatable: call.is_repeatable ?? false, deadlineMs: now + (call.deadline_ms ?? 60_000) };
  }

  // What the core asked for, sorted. Messages count as stored at once.
  private takeStored(): void {
    for (let actions = this.core.poll(); actions.length > 0; actions = this.core.poll()) for (const action of actions) this.note(action);
  }

  private note(action: Action): void {
    if (action.type === "packet") this.packets.push(this.readable(action.bytes));
    else if (action.type === "get_token") this.rest.gets_token = action.wasRefused ? "refused" : "again";
    else if (action.type === "locate") this.rest.locates = true;
    else if (action.type === "connect") this.rest.connects = action.url;
    else if (action.type === "disconnect") this.rest.disconnects = true;
    else if (action.type === "event") this.seen.push(readableEvent(action.event));
    else if (action.type === "answer") this.seen.push({ answer: { name: action.requestId, code: action.answer.code, data: new TextDecoder().decode(action.answer.data) } });
    else if (action.type === "deliver") {
      this.seen.push(...action.messages.map((message) => ({ message: readableMessage(message) })));
      this.core.onStored(action.cursors, this.nowMs + this.offsetMs);
    }
  }

  private take() {
    this.takeStored();
    const taken = { packets: this.packets, seen: this.seen, rest: this.rest };
    this.packets = [], this.seen = [], this.rest = {};
    return taken;
  }

  private readable(bytes: Uint8Array): Json {
    const packet = decodePacket(bytes);
    const command = connect.PacketCommand[packet.command] ?? packet.command;
    const schema = REQUESTS[command];
    const options = { useProtoFieldName: true, alwaysEmitImplicit: true };
    let content: any = new TextDecoder().decode(packet.content);
    if (schema) content = numbersIn(toJson(schema, fromBinary(schema, packet.content), options));
    return { command, request_id: packet.requestId, content };
  }

  // Of each only the fields that are expected, and these with the ids that the client chose under the names that the vector gives them.
  private picked(found: Json[], expected: Json[]): Json[] {
    return found.map((item, index) => this.pick(item, expected[index] ?? item));
  }

  private pick(item: any, expected: any): any {
    if (typeof expected === "string" && expected.startsWith("$")) this.names.set(expected, item);
    if (Array.isArray(expected) || typeof expected !== "object" || typeof item !== "object") return item;
    return Object.fromEntries(Object.entries(item).filter(([name]) => name in expected).map(([name, field]) => [name, this.pick(field, expected[name])]));
  }

  private filledIn(value: any): any {
    if (typeof value === "string" && value.startsWith("$")) return this.names.get(value);
    if (Array.isArray(value)) return value.map((item) => this.filledIn(item));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, this.filledIn(field)]));
  }
}

// 64-bit numbers are texts in protobuf's JSON, bytes base64; vectors write numbers, and text.
function numbersIn(value: JsonValue, name = ""): any {
  if (Array.isArray(value)) return value.map((item) => numbersIn(item));
  if (typeof value === "object" && value !== null) return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, numbersIn(field, name)]));
  if (typeof value !== "string") return value;
  if (BYTES.includes(name)) return Buffer.from(value, "base64").toString();
  return /^\d+$/.test(value) ? Number(value) : value;
}

function readableMessage(message: Message): Json {
  return {
    message_id: Number(message.messageId), command: message.command, content: textOf(message), status: message.status, seq: message.seq, group_seq: message.groupSeq,
    room_seq: message.roomSeq, group_id: Number(message.groupId), room_id: Number(message.roomId), from_user_id: Number(message.from?.userId ?? 0),
    is_own: message.isOwn, client_msg_id: message.clientMsgId,
  };
}

function readableEvent(event: CoreEvent): Json {
  if (event.type === "state") return { state: event.state.name === "ended" ? event.state.reason : event.state.name };
  if (event.type === "synced") return { synced: true };
  if (event.type === "error") return { error: event.about };
  const { type, ...fields } = event as Json;
  const snake = Object.entries(fields).map(([name, field]) => [name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), /^\d+$/.test(field) && !/msg/i.test(name) ? Number(field) : field]);
  return { [type]: Object.fromEntries(snake) };
}

