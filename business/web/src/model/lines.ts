// What a message looks like as a line of a conversation.

import { noticeOf, textOf, type Message } from "gim-client";
import { text } from "../text";
import type { People } from "./people";

// A message of the list, or one that is on its way.
export interface Line {
  key: string;
  message: Message | null;
  text: string;
  createdAtMs: number;
  isOwn: boolean;
  state: "" | "sending" | "sent" | "failed";
  problem: string;
}

export const numberOf = (message: Message): number => message.groupSeq || message.seq || message.roomSeq;

export function lineOf(message: Message, people: People): Line {
  people.learn(message);
  return { key: message.messageId, message, text: wordsOf(message, people), createdAtMs: message.createdAtMs, isOwn: message.isOwn, state: message.isOwn ? "sent" : "", problem: "" };
}

// What to show of a message, in one string.
export function wordsOf(message: Message, people: People): string {
  if (message.status === "recalled") return text.recalled;
  if (message.status === "expired") return text.gone;
  const notice = noticeOf(message);
  if (!notice) return isText(message) ? textOf(message) : text.unknown;
  const name = (user: { userId: string; nickname: string }) => user.nickname || people.nameOf({ kind: "user", id: user.userId });
  if (notice.kind === "members_added") return text.added(name(notice.by), notice.members.filter(({ userId }) => userId !== notice.by.userId).map(name).join(", "));
  if (notice.kind === "members_removed") {
    const whom = notice.userIds.map((userId) => people.nameOf({ kind: "user", id: userId })).join(", ");
    return notice.userIds.length === 1 && notice.userIds[0] === notice.by.userId ? text.left(name(notice.by)) : text.removed(name(notice.by), whom);
  }
  return notice.kind === "group_changed" ? text.changed(name(notice.by), notice.name) : "";
}

// What the server or a backend says, in the middle of the conversation.
export function isNote(message: Message | null): boolean {
  return message !== null && (message.status !== "normal" || noticeOf(message) !== null);
}

// Whether there is anything to see in it.
export function isVisible(words: string): boolean {
  return /[^\s\p{C}\p{Z}\p{M}\u115f\u1160\u3164\uffa0]/u.test(words);
}

const graphemes = new Intl.Segmenter();

// One to three emoji and nothing else.
export function isEmoji(words: string): boolean {
  if (words.length > 40) return false;
  const parts = [...graphemes.segment(words)].map(({ segment }) => segment);
  return parts.length > 0 && parts.length <= 3 && parts.every((part) => /^(\p{Extended_Pictographic}|\p{Regional_Indicator}{2})/u.test(part));
}

function isText(message: Message): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(message.content);
    return true;
  } catch {
    return false;
  }
}
