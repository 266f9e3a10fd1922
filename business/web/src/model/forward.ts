// Handing on what was said: one message as it is, several as one that has them all.

import type { Message, Target } from "gim-client";
import { text } from "../text";
import type { Chat } from "./chat";
import type { Line } from "./lines";
import type { Talk } from "./talk";

// The protocol allows no more messages, and no longer content with all of them.
export const FORWARDED_MAX = 100;
const BYTES_MAX = 58_000;

// What was chosen, from the first to the last.
export function chosenOf(talk: Talk): Line[] {
  return talk.lines.filter(({ key, message }) => message !== null && talk.chosen?.has(key));
}

// Returns whether it is on its way.
export function forward(chat: Chat, talk: Talk, to: Target): boolean {
  const messages = chosenOf(talk).map(({ message }) => message!).filter(({ status }) => status === "normal");
  const bytes = messages.reduce((sum, { content }) => sum + content.length, 0);
  if (messages.length === 0 || messages.length > FORWARDED_MAX || (messages.length > 1 && bytes > BYTES_MAX)) {
    chat.say(text.tooMuch);
    return false;
  }
  const [only] = messages;
  if (messages.length === 1) chat.outgoing.sendSaid(to, { command: isPlain(only!) ? 0 : only!.command, content: only!.content });
  else chat.outgoing.send(to, "mergedForward", { title: titleOf(chat, talk.target), messages: messages.map((message) => forwarded(chat, message)) });
  talk.chooseNone();
  return true;
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
