// A message, and what can be done with it.

import { useEffect, useState } from "preact/hooks";
import type { Message } from "gim-client";
import type { Chat } from "../model/chat";
import { answerTo } from "../model/drafts";
import type { Line } from "../model/lines";
import type { Talk } from "../model/talk";
import { text, timeOf } from "../text";
import { Content, isBig } from "./content";
import { Face, Icon, Safe } from "./parts";

const RECALL_MS = 120_000;
// Readers that are named where the pointer rests on a tick.
const NAMES_MAX = 10;

export function Bubble({ chat, talk, line, isFirst }: { chat: Chat; talk: Talk; line: Line; isFirst: boolean }) {
  const { message } = line;
  const sender = talk.target.kind !== "user" && !line.isOwn ? message?.from ?? null : null;
  const name = sender && chat.people.nameOf({ kind: "user", id: sender.userId });
  const isRevealed = talk.revealed.key === line.key;
  return (
    <div class={`row${line.isOwn ? " own" : ""}${isFirst ? " first" : ""}`}>
      {sender && (isFirst ? <Face name={name!} id={sender.userId} /> : <span class="face-place" />)}
      <div class={`bubble${isBig(line) ? " big" : ""}${line.state === "failed" ? " failed" : ""}${isRevealed ? " revealed" : ""}`} key={isRevealed ? talk.revealed.count : 0}>
        {sender && isFirst && <span class="sender" dir="auto">{name}</span>}
        <Safe><Content chat={chat} content={line.content} words={line.text} talk={talk} /></Safe>
        <Status chat={chat} line={line} talk={talk} />
      </div>
    </div>
  );
}

// Folded, so that a line of words stays a line of words.
function Actions({ chat, talk, line, message }: { chat: Chat; talk: Talk; line: Line; message: Message }) {
  const [isOpen, setOpen] = useState(false);
  const recall = () => void chat.client.history.recall(message.messageId).catch((error) => chat.tell(error));
  const isRecallable = line.isOwn && talk.target.kind !== "room" && Date.now() - line.createdAtMs < RECALL_MS;
  const answer = () => {
    setOpen(false);
    chat.drafts.keep(talk.target, { answered: answerTo(line) });
    chat.changed();
  };
  const forward = () => { setOpen(false); talk.choose(line.key); };
  return (
    <span class="deeds">
      {isOpen && message.messageId !== "0" && <button class="quiet" onClick={answer}>{text.reply}</button>}
      {isOpen && <button class="quiet" onClick={forward}>{text.forward}</button>}
      {isOpen && isRecallable && <button class="quiet" onClick={recall}>{text.recall}</button>}
      <button class="quiet more" aria-label={text.more} title={text.more} aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}><Icon name="more" /></button>
    </span>
  );
}

function Status({ chat, line, talk }: { chat: Chat; line: Line; talk: Talk }) {
  const { message, state } = line;
  return (
    <span class="status">
      {message && !talk.chosen && <Actions chat={chat} talk={talk} line={line} message={message} />}
      {state === "failed" ? (
        <span class="problem">{text.failed}: {line.problem} <button class="quiet" onClick={() => chat.outgoing.sendAgain(line)}>{text.retry}</button> <button class="quiet" onClick={() => chat.outgoing.discard(line)}>{text.discard}</button></span>
      ) : <time>{timeOf(line.createdAtMs)}</time>}
      {state === "sending" && <span> · {text.sending}</span>}
      {state === "sent" && <Tick chat={chat} talk={talk} message={message} />}
    </span>
  );
}

// Whether it was read: by the other user, or by how many of a group.
function Tick({ chat, talk, message }: { chat: Chat; talk: Talk; message: Message | null }) {
  const { readers, target } = talk;
  const messageId = message?.messageId ?? "0";
  useEffect(() => (messageId === "0" ? undefined : readers?.watch(messageId)), [readers, messageId]);
  const found = readers?.of(messageId) ?? null;
  const isRead = found ? found.isEverybody : message !== null && message.seq > 0 && message.seq <= (chat.entries.of(target)?.peerReadSeq ?? 0);
  const count = found?.count ?? 0;
  const label = found && isRead ? text.readByAll : count > 0 ? text.readBy(count) : isRead ? text.read : text.sent;
  const names = found?.userIds.slice(0, NAMES_MAX).map((id) => chat.people.nameOf({ kind: "user", id })) ?? [];
  return (
    <span class={isRead ? "tick read" : "tick"} role="img" aria-label={label} title={[label, names.join(", ")].filter(Boolean).join(": ")}>
      <span class="tick-marks">{isRead || count > 0 ? "✓✓" : "✓"}</span>{count > 0 && !isRead && ` ${count}`}
    </span>
  );
}
