// The packets of the wire as bytes: the only place that knows both protobuf and the rest. Ids are decimal strings outside, because
// numbers of JavaScript are exact only up to 2⁵³; seqs are numbers.

import { create, fromBinary, toBinary, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { PacketCommand, PacketSchema, ReplySchema, SendRequestSchema, type Packet, type Reply } from "./generated/connect_pb.js";

export { PacketCommand } from "./generated/connect_pb.js";

// Result codes on which the client acts by itself.
export const CODE = { OK: 0, INTERNAL: 2, SIGN_IN_AGAIN: 10000, TOO_MANY_REQUESTS: 10003, TRY_LATER: 10004, BEYOND_NEWEST: 10007 };

// Most bytes in the content of a message, as servers have it unless they are set otherwise.
export const CONTENT_BYTES_MAX = 60 * 1024;

export function encode<T extends DescMessage>(schema: T, fields: MessageInitShape<T>): Uint8Array<ArrayBuffer> {
  return toBinary(schema, create(schema, fields)) as Uint8Array<ArrayBuffer>;
}

export function decode<T extends DescMessage>(schema: T, bytes: Uint8Array): MessageShape<T> {
  return fromBinary(schema, bytes);
}

export function encodePacket(command: number, requestId: string, content: Uint8Array = new Uint8Array()): Uint8Array<ArrayBuffer> {
  return encode(PacketSchema, { command: command as PacketCommand, requestId, content });
}

export function decodePacket(bytes: Uint8Array): Packet {
  return decode(PacketSchema, bytes);
}

export function decodeReply(packet: Packet): Reply {
  return decode(ReplySchema, packet.content);
}

// Whether the very same request may be sent again after a pause.
export function isPutOff(code: number): boolean {
  return code === CODE.TOO_MANY_REQUESTS || code === CODE.TRY_LATER;
}

// Above 2^53 as a string or a BigInt.
export type Id = string | number | bigint;

export interface Target {
  kind: "user" | "group" | "room";
  id: string;
}

const TARGET_FIELDS = { user: "userId", group: "groupId", room: "roomId" } as const;

export function encodeSend(send: { target: Target; command: number; content: Uint8Array; clientMsgId: string }): Uint8Array {
  const target = { case: TARGET_FIELDS[send.target.kind], value: BigInt(send.target.id) };
  return encode(SendRequestSchema, { target, command: send.command, content: send.content, clientMsgId: send.clientMsgId });
}
