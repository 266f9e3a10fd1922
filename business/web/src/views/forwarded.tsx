// Messages that were forwarded together: a card, and what opens when it is pressed. Nothing proves that they were said so.

import { contentOf } from "gim-client";
import type { Chat, Merged } from "../model/chat";
import { wordsSaid } from "../model/lines";
import { dayOf, isDate, text, timeOf } from "../text";
import { Content } from "./content";
import { Dialog, Face, Icon, Safe } from "./parts";

const SHOWN_MAX = 3;
const WORDS_CHARS = 60;

export function Forwarded({ chat, content }: { chat: Chat; content: Merged }) {
  const { title, messages } = content;
  return (
    <button class="card-link forwarded" onClick={() => chat.read(content)}>
      <Icon name="forward" />
      <span class="about">
        <strong dir="auto">{title || text.forwarded(messages.length)}</strong>
        {messages.slice(0, SHOWN_MAX).map((message, index) => <span key={index} dir="auto" class="line">{message.nickname && `${message.nickname}: `}{wordsSaid(message).slice(0, WORDS_CHARS)}</span>)}
        <span class="note">{text.forwarded(messages.length)}</span>
      </span>
    </button>
  );
}

// All of it, and within it what was forwarded before.
export function Readings({ chat }: { chat: Chat }) {
  return (
    <>
      {chat.readings.map(({ title, messages }, depth) => (
        <Dialog key={depth} title={title || text.forwarded(messages.length)} onClose={() => chat.endReading(depth)}>
          <p class="hint">{text.unproved}</p>
          {messages.map((message, index) => <Said key={index} chat={chat} message={message} />)}
        </Dialog>
      ))}
    </>
  );
}

function Said({ chat, message }: { chat: Chat; message: Merged["messages"][number] }) {
  const { senderId, nickname } = message;
  const id = String(senderId);
  const at = Number(message.createdAtMs);
  const name = nickname || (senderId > 0n ? chat.people.nameOf({ kind: "user", id }) : "");
  return (
    <div class="said">
      <Face name={name || "·"} id={id} />
      <div class="bubble">
        <span class="sender" dir="auto">{name} {isDate(at) && <time class="note">{dayOf(at)}, {timeOf(at)}</time>}</span>
        <Safe><Content chat={chat} content={contentOf(message)} words={wordsSaid(message)} talk={null} /></Safe>
      </div>
    </div>
  );
}
