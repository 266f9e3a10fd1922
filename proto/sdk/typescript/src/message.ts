// What the app sees of a message, with the wrapper of the sender taken off.

import { MessageStatus, type Message as WireMessage } from "./generated/connect_pb.js";
import { GroupMessagePushSchema, UserMessagePushSchema, type User } from "./generated/logic_pb.js";
import { decode, type Target } from "./wire.js";

export interface Sender {
  userId: string;
  deviceId: string;
  nickname: string;
  avatarUrl: string;
  extra: string;
}

export interface Message {
  // The same for all receivers, and different for every message; "0" where the server gave none.
  messageId: string;
  // 1 a user's message, 2 a group's, 100 to 199 the server's notices, 200 to 299 typed contents, from 1000 on your own.
  command: number;
  content: Uint8Array;
  // recalled: the sender took the message with this id back. expired: the server keeps it no longer.
  status: "normal" | "recalled" | "expired";
  // Its number in the inbox; 0 where it is in none.
  seq: number;
  // Its number in the timeline of a large group; 0 elsewhere.
  groupSeq: number;
  // Its number in the room; 0 elsewhere.
  roomSeq: number;
  // "0" for none.
  groupId: string;
  roomId: string;
  createdAtMs: number;
  // Who said it; none where a backend or the server did, and in what was recalled or expired.
  from: Sender | null;
  // Whom it was said to, between two users; "0" elsewhere.
  toUserId: string;
  // Whether this user said it, on whatever device.
  isOwn: boolean;
  // Of what this device sent itself; "" elsewhere.
  clientMsgId: string;
}

const STATUS = { [MessageStatus.MS_NORMAL]: "normal", [MessageStatus.MS_RECALLED]: "recalled", [MessageStatus.MS_EXPIRED]: "expired" } as const;
const USER_MESSAGE = 1, GROUP_MESSAGE = 2;

export function toMessage(wire: WireMessage, ownUserId: string): Message {
  const message: Message = {
    messageId: String(wire.messageId),
    command: wire.command,
    content: wire.content,
    status: STATUS[wire.status] ?? "normal",
    seq: Number(wire.seq),
    groupSeq: Number(wire.groupSeq),
    roomSeq: Number(wire.roomSeq),
    groupId: String(wire.groupId),
    roomId: String(wire.roomId),
    createdAtMs: Number(wire.createdAtMs) || 1000 * Number(wire.createdAt),
    from: null,
    toUserId: "0",
    isOwn: false,
    clientMsgId: "",
  };
  if (message.status === "normal") unwrap(message, wire, ownUserId);
  return message;
}

// Servers that do not say who speaks wrap what has the command of a user's message.
function unwrap(message: Message, wire: WireMessage, ownUserId: string): void {
  if (!wire.isFromUser && wire.command !== USER_MESSAGE && wire.command !== GROUP_MESSAGE) return;
  try {
    const isOfGroup = wire.groupId !== 0n || wire.command === GROUP_MESSAGE;
    const wrapper = isOfGroup ? decode(GroupMessagePushSchema, wire.content) : decode(UserMessagePushSchema, wire.content);
    if (!wrapper.fromUser) return;
    message.from = toSender(wrapper.fromUser);
    message.content = wrapper.content;
    message.isOwn = message.from.userId === ownUserId;
    if ("toUserId" in wrapper) message.toUserId = String(wrapper.toUserId);
  } catch {
    // A backend may push what it likes under these commands: then it is as it came.
  }
}

function toSender(user: User): Sender {
  const { nickname, avatarUrl, extra } = user;
  return { userId: String(user.userId), deviceId: String(user.deviceId), nickname, avatarUrl, extra };
}

// The content as UTF-8.
export function textOf(message: { content: Uint8Array }): string {
  return new TextDecoder().decode(message.content);
}

// Where it belongs: the other user, the group or the room. None for what a backend or the server said to this user, for what an older server
// does not say whom it was said to, and for what was recalled or expired between two users: the one with the same `messageId` tells.
export function conversationOf(message: Message): Target | null {
  if (message.groupId !== "0") return { kind: "group", id: message.groupId };
  if (message.roomId !== "0") return { kind: "room", id: message.roomId };
  if (!message.from) return null;
  const id = message.isOwn ? message.toUserId : message.from.userId;
  return id === "0" ? null : { kind: "user", id };
}
