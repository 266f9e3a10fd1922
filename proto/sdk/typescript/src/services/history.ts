// What the server keeps of a conversation.

import type { Client, RequestOptions } from "../client.js";
import { MessageExtService } from "../generated/logic_pb.js";
import { toMessage, type Message } from "../message.js";
import type { Id } from "../wire.js";
import { toPeer } from "./conversations.js";

export class History {
  constructor(private readonly client: Client) {}

  // Older messages with one user or of one group, newest first. `before` is the number of the last message of the page before: its
  // `seq` with a user, its `groupSeq` in a group of either kind.
  async page(peer: { kind: "user" | "group"; id: Id }, before = 0, limit = 0, options?: RequestOptions): Promise<{ messages: Message[]; hasMore: boolean }> {
    const reply = await this.client.rpc(MessageExtService.method.history, { peer: toPeer(peer), beforeSeq: BigInt(before), limit }, options);
    return { messages: reply.messages.map((message) => toMessage(message, this.client.userId)), hasMore: reply.hasMore };
  }

  // Takes back a message that the user sent. Every device, this one too, is told by one more message.
  async recall(messageId: Id, options: RequestOptions = {}): Promise<void> {
    await this.client.rpc(MessageExtService.method.recall, { messageId: BigInt(messageId) }, { isRepeatable: true, ...options });
  }
}
