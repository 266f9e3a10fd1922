// What the server keeps of a conversation.

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client, RequestOptions } from "../client.js";
import { MessageExtService, type HistoryRequestSchema } from "../generated/logic_pb.js";
import { toMessage, type Message } from "../message.js";
import type { Id } from "../wire.js";
import { toPeer } from "./conversations.js";

// Which messages: the last ones before a number, where 0 means the newest ones; the first ones after a number, where 0 means the first
// ones of all; a message with about as many before it as after it; or the first ones from a time on, in milliseconds. A number is the `seq`
// of a message with a user, and the `groupSeq` in a group of either kind, as the history itself has them.
export type HistoryPlace = number | { after: number } | { around: Id } | { fromMs: number };

export interface HistoryPage {
  // Newest first. What was recalled stands at its place, without content; what the user deleted is left out.
  messages: Message[];
  // Whether there are older ones: before the number of the last message. Not said where those after a number or from a time on were asked for.
  hasMore: boolean;
  // Whether there are newer ones: after the number of the first message. Not said where those before a number were asked for.
  hasNewer: boolean;
  // Of the whole conversation, where it was asked for: 10000 messages mean more than 9999, and numbers of 0 that there is none.
  extent: { count: number; firstSeq: number; lastSeq: number } | null;
}

export class History {
  constructor(private readonly client: Client) {}

  // Messages with one user or of one group, as many as the server allows without a `limit`. The extent costs as much as four other calls.
  async page(peer: { kind: "user" | "group"; id: Id }, place: HistoryPlace = 0, limit = 0, options: RequestOptions & { withExtent?: boolean } = {}): Promise<HistoryPage> {
    const { withExtent = false, ...rest } = options;
    const reply = await this.client.rpc(MessageExtService.method.history, { peer: toPeer(peer), limit, withExtent, ...toPlace(place) }, rest);
    const { hasMore, hasNewer, extent } = reply;
    return {
      messages: reply.messages.map((message) => toMessage(message, this.client.userId)),
      hasMore, hasNewer,
      extent: extent ? { count: extent.count, firstSeq: Number(extent.firstSeq), lastSeq: Number(extent.lastSeq) } : null,
    };
  }

  // Takes back a message that the user sent. Every device, this one too, is told by one more message.
  async recall(messageId: Id, options: RequestOptions = {}): Promise<void> {
    await this.client.rpc(MessageExtService.method.recall, { messageId: BigInt(messageId) }, { isRepeatable: true, ...options });
  }
}

function toPlace(place: HistoryPlace): MessageInitShape<typeof HistoryRequestSchema> {
  if (typeof place === "number") return { beforeSeq: BigInt(place) };
  if ("after" in place) return { afterSeq: BigInt(place.after) };
  return "around" in place ? { aroundMessageId: BigInt(place.around) } : { fromMs: BigInt(place.fromMs) };
}
