// Handing on what was said: one message as it is, several as one that has them all.

import { contentOf, encodeContent, type Message, type Target } from "gim-client";
import { text } from "../text";
import type { Chat } from "./chat";
import type { Line, Said } from "./lines";
import type { Talk } from "./talk";

// The protocol allows no more messages, and no longer content with all of them.
export const FORWARDED_MAX = 100;
const BYTES_MAX = 58_000;
const DEPTH_MAX = 3;

// What was chosen, from the first to the last.
export function chosenOf(talk: Talk): Line[] {
  return talk.lines.filter(({ key, message }) => message !== null && talk.chosen?.has(key));
}

// Returns whether it is on its way.
export function forward(chat: Chat, talk: Talk, to: Target): boolean {
  const messages = chosenOf(talk).map(({ message }) => message!).filter(({ status }) => status === "normal");
  const [only] = messages;
  const said = messages.length === 1 ? { command: isPlain(only!) ? 0 : only!.command, content: only!.content }
    : encodeContent("mergedForward", { title: titleOf(chat, talk.target), messages: messages.map((message) => forwarded(chat, message)) });
  if (messages.length === 0 || messages.length > FORWARDED_MAX || said.content.length > BYTES_MAX || depthOf(said) > DEPTH_MAX) {
    chat.say(text.tooMuch);
    return false;
  }
  chat.outgoing.sendSaid(to, said);
  talk.chooseNone();
  return true;
}

// How deep forwarded messages lie in each other.
function depthOf(said: Said): number {
  const content = contentOf(said);
  return content?.kind === "mergedForward" ? 1 + Math.max(0, ...content.value.messages.map(depthOf)) : 0;
}

function forwarded(chat: Chat, { from, command, content, createdAtMs }: Message) {
  const nickname = from ? chat.people.nameOf({ kind: "user", id: from.userId }) : "";
  return { senderId: BigInt(from?.userId ?? 0), nickname, command, content, createdAtMs: BigInt(createdAtMs) };
}

// A user's message is one again; of a group it would not be one between two users.
function isPlain({ command }: Message): boolean {
  return command < 100;
}

function titleOf(chat: Chat, target: Target): string {
  const name = chat.people.nameOf(target);
  return target.kind === "user" ? text.talkOf(chat.people.nameOf({ kind: "user", id: chat.account.user_id }), name) : text.talkIn(name);
}
