// What is written and not sent yet, by conversation.

import type { ContentFields, Target } from "gim-client";
import type { Line } from "./lines";
import { keyOf } from "./route";

// Somebody who was chosen to be meant, and how the text says so; "everybody" of the group.
export interface Named {
  userId: string | "everybody";
  label: string;
}

// What is answered.
export interface Answered {
  messageId: string;
  senderId: string;
  quote: string;
}

export interface Draft {
  words: string;
  named: Named[];
  answered: Answered | null;
}

const MENTIONS_MAX = 100;
const QUOTE_CHARS = 120;

export class Drafts {
  private readonly all = new Map<string, Draft>();

  of(target: Target): Draft {
    return this.all.get(keyOf(target)) ?? { words: "", named: [], answered: null };
  }

  keep(target: Target, fields: Partial<Draft>): void {
    const draft = { ...this.of(target), ...fields };
    if (draft.words.trim() || draft.answered) this.all.set(keyOf(target), draft);
    else this.all.delete(keyOf(target));
  }

  clear(target: Target): void {
    this.all.delete(keyOf(target));
  }
}

export function answerTo({ message, text }: Line): Answered {
  const quote = [...text.replace(/\s+/gu, " ")];
  return { messageId: message!.messageId, senderId: message!.from?.userId ?? "0", quote: quote.length > QUOTE_CHARS ? `${quote.slice(0, QUOTE_CHARS - 1).join("")}…` : quote.join("") };
}

// The text with the places that mean somebody, in UTF-16 code units as the protocol counts. Who is no longer named is not meant.
export function textWith(words: string, named: Named[]): ContentFields<"text"> {
  const mentions: { userId: bigint; offset: number; length: number }[] = [];
  let mentionsAll = false;
  // "@Anna" before "@Ann", which is a part of it.
  for (const { userId, label } of [...named].sort((one, other) => other.label.length - one.label.length)) {
    for (let offset = words.indexOf(label); offset >= 0; offset = words.indexOf(label, offset + label.length)) {
      if (userId === "everybody") mentionsAll = true;
      else if (!mentions.some((other) => other.offset < offset + label.length && offset < other.offset + other.length)) mentions.push({ userId: BigInt(userId), offset, length: label.length });
    }
  }
  mentions.sort((one, other) => one.offset - other.offset);
  return { text: words, mentions: mentions.slice(0, MENTIONS_MAX), mentionsAll };
}
