// The conversation that is open.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Message } from "gim-client";
import type { App } from "../model/app";
import type { Chat } from "../model/chat";
import { isEmoji, isNote, isVisible, type Line } from "../model/lines";
import { linkTo } from "../model/route";
import type { Talk } from "../model/talk";
import { dayOf, isSameDay, text, timeOf } from "../text";
import { Composer } from "./composer";
import { Banner, Face, Icon } from "./parts";
import { VirtualList } from "./virtual-list";

const RECALL_MS = 120_000;
// Longer texts are folded.
const FOLDED_CHARS = 1500;
// Lines of one sender within this time stand together.
const RUN_MS = 300_000;
// Readers that are named where the pointer rests on a tick.
const NAMES_MAX = 10;

type Mark<Kind> = { key: string; isFixed: false; kind: Kind; label: string };
type Row = Mark<"day"> | Mark<"unread"> | Mark<"earlier"> | { key: string; isFixed: true; kind: "line"; line: Line; isFirst: boolean };

export function TalkView({ app, chat, talk }: { app: App; chat: Chat; talk: Talk }) {
  const rows = useMemo(() => rowsOf(talk), [talk, talk.version, talk.unreadFrom, talk.hasEarlier]);
  const sent = useRef(0);
  return (
    <main class="talk">
      <Header chat={chat} talk={talk} />
      <Banner chat={chat} onSignIn={() => void app.signOut()} />
      {talk.target.kind === "room" && chat.room?.problem && <p class="banner" role="status">{text.refused}{chat.room.problem}</p>}
      {talk.isLoaded ? (
        <VirtualList rows={rows} startAt={talk.unreadFrom && "unread"} stick={sent.current} label={text.messages} onTop={() => void talk.loadEarlier()} toEnd={text.newest}
          render={(row) => <RowView chat={chat} talk={talk} row={row} />} />
      ) : <div class="lines" />}
      <p class="hidden" role="status">{talk.lastHeard}</p>
      <Composer chat={chat} target={talk.target} onSend={() => { sent.current += 1; }} />
    </main>
  );
}

function Header({ chat, talk }: { chat: Chat; talk: Talk }) {
  const { target } = talk;
  const name = chat.people.nameOf(target);
  const group = target.kind === "group" ? chat.people.groups.get(target.id) : undefined;
  const here = talk.members?.count ?? null;
  useEffect(() => { if (target.kind === "group" && chat.state.name === "live") void chat.people.refreshGroup(target.id); }, [target, chat.state.name]);
  return (
    <header>
      <a class="back" href="#" aria-label={text.back}><Icon name="back" /></a>
      <Face name={name} id={target.id} kind={target.kind} />
      <div class="title">
        <h2 dir="auto">{name}</h2>
        {group && <p class="note">{text.people(group.memberCount)}</p>}
        {here !== null && <p class="note">{text.inRoom(here)}</p>}
      </div>
      <a class="tool" href={linkTo(target, true)} aria-label={text.info} title={text.info}><Icon name="info" /></a>
    </header>
  );
}

function rowsOf(talk: Talk): Row[] {
  const rows: Row[] = [];
  if (talk.hasEarlier) rows.push({ key: "earlier", isFixed: false, kind: "earlier", label: text.earlier });
  let before: Line | null = null;
  for (const line of talk.lines) {
    const isNewDay = !before || !isSameDay(before.createdAtMs, line.createdAtMs);
    if (isNewDay) rows.push({ key: `day ${line.key}`, isFixed: false, kind: "day", label: dayOf(line.createdAtMs) });
    const isNew = line.key === talk.unreadFrom;
    if (isNew) rows.push({ key: "unread", isFixed: false, kind: "unread", label: text.unread });
    rows.push({ key: line.key, isFixed: true, kind: "line", line, isFirst: isNewDay || isNew || !before || !isOneRun(before, line) });
    before = line;
  }
  return rows;
}

function isOneRun(before: Line, line: Line): boolean {
  if (isNote(before.message) || line.createdAtMs - before.createdAtMs > RUN_MS) return false;
  return before.isOwn === line.isOwn && (line.isOwn || before.message?.from?.userId === line.message?.from?.userId);
}

function RowView({ chat, talk, row }: { chat: Chat; talk: Talk; row: Row }) {
  if (row.kind === "earlier") return <p class="center"><button class="quiet" onClick={() => void talk.loadEarlier()}>{row.label}</button></p>;
  if (row.kind === "day") return <p class="center day">{row.label}</p>;
  if (row.kind === "unread") return <p class="center unread-line"><span>{row.label}</span></p>;
  if (isNote(row.line.message)) return <p class="center note" dir="auto">{row.line.text}</p>;
  return <Bubble chat={chat} talk={talk} line={row.line} isFirst={row.isFirst} />;
}

function Bubble({ chat, talk, line, isFirst }: { chat: Chat; talk: Talk; line: Line; isFirst: boolean }) {
  const [isWhole, setWhole] = useState(false);
  const { message } = line;
  const sender = talk.target.kind !== "user" && !line.isOwn ? message?.from ?? null : null;
  const name = sender && chat.people.nameOf({ kind: "user", id: sender.userId });
  const isFolded = !isWhole && line.text.length > FOLDED_CHARS;
  const words = isFolded ? `${line.text.slice(0, FOLDED_CHARS)} …` : line.text;
  return (
    <div class={`row${line.isOwn ? " own" : ""}${isFirst ? " first" : ""}`}>
      {sender && (isFirst ? <Face name={name!} id={sender.userId} /> : <span class="face-place" />)}
      <div class={`bubble${isEmoji(line.text) ? " big" : ""}${line.state === "failed" ? " failed" : ""}`}>
        {sender && isFirst && <span class="sender" dir="auto">{name}</span>}
        {isVisible(line.text) || isEmoji(line.text) ? <p dir="auto">{words}</p> : <p class="hint">{text.invisible}</p>}
        {isFolded && <button class="quiet" onClick={() => setWhole(true)}>{text.showAll}</button>}
        <Status chat={chat} line={line} talk={talk} />
      </div>
    </div>
  );
}

function Status({ chat, line, talk }: { chat: Chat; line: Line; talk: Talk }) {
  const { message, state } = line;
  const recall = () => void chat.client.history.recall(message!.messageId).catch((error) => chat.tell(error));
  const isRecallable = line.isOwn && message && talk.target.kind !== "room" && Date.now() - line.createdAtMs < RECALL_MS;
  return (
    <span class="status">
      {isRecallable && <button class="quiet recall" onClick={recall}>{text.recall}</button>}
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
