// What the server keeps of the conversation that is open and this browser has not.

import { CODE, GimError, type Message, type Peer } from "gim-client";
import type { Chat } from "./chat";
import { numberOf } from "./lines";

// Messages that are loaded together.
export const PAGE = 50;

export interface Earlier {
  // Oldest first.
  messages: Message[];
  hasMore: boolean;
}

export class EarlierHistory {
  // The number of the oldest message that was read; 0 before the first page.
  private before = 0;

  constructor(
    private readonly chat: Chat,
    // The first message that is shown.
    private readonly first: () => Message | null,
  ) {}

  get isBegun(): boolean {
    return this.before > 0;
  }

  // What is before that message. What the server refuses need not be asked again; what found no connection, or failed there, is.
  async earlier(peer: Peer): Promise<Earlier> {
    try {
      return await this.page(peer);
    } catch (error) {
      return { messages: [], hasMore: !(error instanceof GimError && error.code > 0 && error.code !== CODE.INTERNAL) };
    }
  }

  private async page(peer: Peer): Promise<Earlier> {
    const { client, people } = this.chat;
    const first = this.first();
    const isLarge = first ? first.groupSeq > 0 : people.groups.get(peer.id)?.isLarge === true;
    // Of a group that is not large this browser knows numbers of the inbox only, and the history has those of the group.
    const hasNumber = this.isBegun || !first || peer.kind === "user" || isLarge;
    const page = hasNumber ? await client.history.page(peer, this.before || (first ? numberOf(first) : 0), PAGE) : await client.history.page(peer, { around: first.messageId }, 2 * PAGE);
    const last = page.messages.at(-1);
    if (last) this.before = numberOf(last);
    // Without the message itself and what is after it, also where it has only come meanwhile.
    const known = page.messages.findIndex(({ messageId }) => messageId === this.first()?.messageId);
    const messages = page.messages.slice(known + 1).reverse();
    // Those numbers would be taken for numbers of the inbox.
    return { messages: peer.kind === "user" || isLarge ? messages : messages.map((message) => ({ ...message, groupSeq: 0 })), hasMore: page.hasMore };
  }
}
