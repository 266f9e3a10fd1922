// What a message looks like as a line of a conversation.

import { contentOf, noticeOf, previewOf, textOf, type Message, type TypedContent } from "gim-client";
import { text } from "../text";
import type { People } from "./people";

// The command of a message and its bytes, as they are sent and as they come.
export interface Said {
  command: number;
  content: Uint8Array;
}

// A message of the list, or one that is on its way.
export interface Line {
  key: string;
  message: Message | null;
  // None for plain text, for notes, and for what this page cannot show: these have their text alone.
  content: TypedContent | null;
  text: string;
  createdAtMs: number;
  isOwn: boolean;
  state: "" | "sending" | "sent" | "failed";
  problem: string;
}

const TYPED_MIN = 200, TYPED_MAX = 299;

export const numberOf = (message: Message): number => message.groupSeq || message.seq || message.roomSeq;

export function lineOf(message: Message, people: People): Line {
  people.learn(message);
  const content = isNote(message) ? null : contentOf(message);
  return { key: message.messageId, message, content, text: wordsOf(message, people), createdAtMs: message.createdAtMs, isOwn: message.isOwn, state: message.isOwn ? "sent" : "", problem: "" };
}

// What to show of a message, in one string.
export function wordsOf(message: Message, people: People): string {
  if (message.status === "recalled") return text.recalled;
  if (message.status === "expired") return text.gone;
  const notice = noticeOf(message);
  if (!notice) return wordsSaid(message);
  const name = (user: { userId: string; nickname: string }) => user.nickname || people.nameOf({ kind: "user", id: user.userId });
  if (notice.kind === "members_added") return text.added(name(notice.by), notice.members.filter(({ userId }) => userId !== notice.by.userId).map(name).join(", "));
  if (notice.kind === "members_removed") {
    const whom = notice.userIds.map((userId) => people.nameOf({ kind: "user", id: userId })).join(", ");
    return notice.userIds.length === 1 && notice.userIds[0] === notice.by.userId ? text.left(name(notice.by)) : text.removed(name(notice.by), whom);
  }
  return notice.kind === "group_changed" ? text.changed(name(notice.by), notice.name) : "";
}

// The whole text, or the line that stands for what is none.
export function wordsSaid(said: Said): string {
  const content = contentOf(said);
  if (content?.kind === "text") return content.value.text;
  if (content?.kind === "reply") return content.value.text?.text ?? "";
  if (content) return previewOf(said) || text.unknown;
  const isTyped = said.command >= TYPED_MIN && said.command <= TYPED_MAX;
  return !isTyped && isText(said.content) ? textOf(said) : text.unknown;
}

// What the server or a backend says, in the middle of the conversation.
export function isNote(message: Message | null): boolean {
  return message !== null && (message.status !== "normal" || noticeOf(message) !== null);
}

// Whether somebody else's message means this user, or everybody.
export function isMeant(message: Message, userId: string): boolean {
  if (message.isOwn || message.status !== "normal") return false;
  const content = contentOf(message);
  const said = content?.kind === "text" ? content.value : content?.kind === "reply" ? content.value.text : undefined;
  return said !== undefined && (said.mentionsAll || said.mentions.some((mention) => String(mention.userId) === userId));
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

function isText(content: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(content);
    return true;
  } catch {
    return false;
  }
}
