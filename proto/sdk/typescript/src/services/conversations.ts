// The user's conversations as the server has them: which there are, how far each was read, and what the user set of it.

import type { Client, RequestOptions } from "../client.js";
import { ConversationExtService, ConversationPushSchema, ConversationReadPushSchema, type Conversation as WireConversation } from "../generated/conversation_pb.js";
import { toMessage, type Message } from "../message.js";
import { decode, type Id, type Target } from "../wire.js";

const CONVERSATION_CHANGED = 140, READ = 141;

// With whom: rooms are no conversations.
export type Peer = Target & { kind: "user" | "group" };

export interface Conversation {
  target: Peer;
  isLarge: boolean;
  // The newest message, with the number that it has in the history; null in a group where nothing was said since the user came into it.
  newest: Message | null;
  // Whether the content of `newest` was left out: it is long, or contents were not asked for.
  isContentLeftOut: boolean;
  // One line for what `newest` says, as `previewOf` has it, also where the content was left out.
  preview: string;
  // Which user said it; "0" for a backend, the server, and what is kept no longer.
  newestSenderId: string;
  // When something was last said; in a group without a message when the user came into it.
  activeAtMs: number;
  // 100 means more than 99.
  unread: number;
  // How far this user has read, and the other one: a `seq` with a user, a `groupSeq` in a group, and the message there. 0 for nothing.
  readSeq: number;
  readMessageId: string;
  peerReadSeq: number;
  peerReadMessageId: string;
  isPinned: boolean;
  isMuted: boolean;
  isMarkedUnread: boolean;
}

// What stays as it is, is left out.
export interface ConversationFields {
  isPinned?: boolean;
  isMuted?: boolean;
  isMarkedUnread?: boolean;
  // Out of the list until a newer message comes.
  isHidden?: boolean;
}

export interface ConversationChange extends ConversationFields {
  target: Peer;
  // Deleted: messages up to this number in the history are gone for this user; 0 for none.
  deletedUpToSeq: number;
  // Read up to this number in the history, and the message there; 0 where the position is as it was.
  readSeq: number;
  readMessageId: string;
}

// Somebody else has read up to a message.
export interface ReadMark {
  target: Peer;
  // Who: the other user, or a member of the group.
  userId: string;
  // A `seq` of this user's inbox, in a group a `groupSeq`.
  seq: number;
  messageId: string;
}

export class Conversations {
  constructor(private readonly client: Client) {}

  // All of them, page by page: first those that are pinned, the one that was pinned last first; then the others, the one with the
  // newest message first. One that gets a message meanwhile may come twice.
  async *list(options?: RequestOptions & { withoutContents?: boolean }): AsyncGenerator<Conversation> {
    for (let after: Uint8Array | null = new Uint8Array(); after; ) {
      const page: ConversationPage = await this.page({ ...options, after });
      yield* page.pinned;
      yield* page.conversations;
      after = page.next;
    }
  }

  // One page. `after` is the `next` of the page before; a page may be empty although there are more.
  async page(options: RequestOptions & { after?: Uint8Array; limit?: number; withoutContents?: boolean } = {}): Promise<ConversationPage> {
    const { after = new Uint8Array(), limit = 0, withoutContents = false } = options;
    const reply = await this.client.rpc(ConversationExtService.method.list, { after, limit, withoutContents }, options);
    const from = (conversation: WireConversation) => fromConversation(conversation, this.client.userId);
    return { pinned: reply.pinned.map(from), conversations: reply.conversations.map(from), next: reply.next.length > 0 ? reply.next : null };
  }

  // The user's other devices are told by `conversation` events.
  async set(target: Peer, fields: ConversationFields, options?: RequestOptions): Promise<void> {
    await this.client.rpc(ConversationExtService.method.set, { ...fields, peer: toPeer(target) }, { isRepeatable: true, ...options });
  }

  // Says that the user has read up to a message. The other user is told, and the members of a group that is not too large (`read`
  // events), and the user's other devices (`conversation` events). A position never goes back.
  async read(target: Peer, messageId: Id, options?: RequestOptions): Promise<void> {
    await this.client.rpc(ConversationExtService.method.read, { peer: toPeer(target), messageId: BigInt(messageId) }, { isRepeatable: true, ...options });
  }

  // Who of a group has read up to a message, by pages, and on the first page how many: 1000 means more than 999.
  async readers(groupId: Id, messageId: Id, options: RequestOptions & { after?: Uint8Array } = {}): Promise<{ userIds: string[]; count: number; next: Uint8Array | null }> {
    const { after = new Uint8Array(), ...rest } = options;
    const reply = await this.client.rpc(ConversationExtService.method.readers, { groupId: BigInt(groupId), messageId: BigInt(messageId), after }, { isRepeatable: true, ...rest });
    return { userIds: reply.readers.map(({ userId }) => String(userId)), count: reply.count, next: reply.next.length > 0 ? reply.next : null };
  }

  // Takes all messages up to now from this user's view, on all devices. The others keep theirs.
  async delete(target: Peer, options?: RequestOptions): Promise<void> {
    await this.client.rpc(ConversationExtService.method.delete, { peer: toPeer(target) }, options);
  }
}

export interface ConversationPage {
  // On the first page only, and in no other list.
  pinned: Conversation[];
  conversations: Conversation[];
  // null on the last page.
  next: Uint8Array | null;
}

// What another device of the user changed; null for any other message.
export function conversationChangeOf(message: Message): ConversationChange | null {
  if (message.command !== CONVERSATION_CHANGED || message.from) return null;
  try {
    const { peer, deletedUpToSeq, readSeq, readMessageId, isPinned, isMuted, isMarkedUnread, isHidden } = decode(ConversationPushSchema, message.content);
    const target = fromPeer(peer);
    const fields = Object.entries({ isPinned, isMuted, isMarkedUnread, isHidden }).filter(([, value]) => value !== undefined);
    return target && { target, deletedUpToSeq: Number(deletedUpToSeq), readSeq: Number(readSeq), readMessageId: String(readMessageId), ...Object.fromEntries(fields) };
  } catch {
    return null;
  }
}

// How far somebody else has read; null for any other message.
export function readMarkOf(message: Message): ReadMark | null {
  if (message.command !== READ || message.from) return null;
  try {
    const { userId, groupId, seq, messageId } = decode(ConversationReadPushSchema, message.content);
    const target: Peer = groupId === 0n ? { kind: "user", id: String(userId) } : { kind: "group", id: String(groupId) };
    return { target, userId: String(userId), seq: Number(seq), messageId: String(messageId) };
  } catch {
    return null;
  }
}

type WirePeer = { case: "userId" | "groupId"; value: bigint } | { case: undefined; value?: undefined };

export function toPeer(target: { kind: "user" | "group"; id: string | number | bigint }): { case: "userId" | "groupId"; value: bigint } {
  return { case: target.kind === "user" ? "userId" : "groupId", value: BigInt(target.id) };
}

function fromPeer(peer: WirePeer): Peer | null {
  return peer.case === undefined ? null : { kind: peer.case === "userId" ? "user" : "group", id: String(peer.value) };
}

function fromConversation(wire: WireConversation, ownUserId: string): Conversation {
  const { isLarge, unread, isPinned, isMuted, isMarkedUnread } = wire;
  return {
    target: fromPeer(wire.peer) ?? { kind: "user", id: "0" },
    newest: wire.lastMessage ? toMessage(wire.lastMessage, ownUserId) : null,
    isContentLeftOut: wire.contentLeftOut,
    preview: wire.preview,
    newestSenderId: String(wire.lastSenderId),
    activeAtMs: Number(wire.activeAtMs),
    readSeq: Number(wire.readSeq),
    readMessageId: String(wire.readMessageId),
    peerReadSeq: Number(wire.peerReadSeq),
    peerReadMessageId: String(wire.peerReadMessageId),
    isLarge, unread, isPinned, isMuted, isMarkedUnread,
  };
}
