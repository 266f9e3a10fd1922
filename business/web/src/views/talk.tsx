// The conversation that is open.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { App } from "../model/app";
import type { Chat } from "../model/chat";
import { isNote, type Line } from "../model/lines";
import { keyOf, linkTo } from "../model/route";
import type { Talk } from "../model/talk";
import { dayOf, isSameDay, text } from "../text";
import { Bubble } from "./bubble";
import { Composer } from "./composer";
import { Forwarding } from "./forwarding";
import { Banner, Face, Icon } from "./parts";
import { VirtualList } from "./virtual-list";

// Lines of one sender within this time stand together.
const RUN_MS = 300_000;

type Mark<Kind> = { key: string; isFixed: false; kind: Kind; label: string };
type Row = Mark<"day"> | Mark<"unread"> | Mark<"earlier"> | { key: string; isFixed: true; kind: "line"; line: Line; isFirst: boolean };

export function TalkView({ app, chat, talk }: { app: App; chat: Chat; talk: Talk }) {
  const rows = useMemo(() => rowsOf(talk), [talk, talk.version, talk.unreadFrom, talk.hasEarlier]);
  const sent = useRef(0);
  const [isOver, setOver] = useState(false);
  // Files that are dropped anywhere on it.
  const takesFiles = (event: DragEvent) => chat.files.areOn && event.dataTransfer?.types.includes("Files") === true;
  const dragged = (event: DragEvent) => {
    if (!takesFiles(event)) return;
    event.preventDefault();
    setOver(event.type !== "dragleave");
  };
  const dropped = (event: DragEvent) => {
    if (!takesFiles(event)) return;
    event.preventDefault();
    setOver(false);
    chat.uploads.begin(talk.target, event.dataTransfer!.files);
  };
  return (
    <main class={isOver ? "talk over" : "talk"} data-key={keyOf(talk.target)} onDragEnter={dragged} onDragOver={dragged} onDragLeave={dragged} onDrop={dropped}>
      <Header chat={chat} talk={talk} />
      <Banner chat={chat} onSignIn={() => void app.signOut()} />
      {talk.target.kind === "room" && chat.room?.problem && <p class="banner" role="status">{text.refused}{chat.room.problem}</p>}
      {talk.isLoaded ? (
        <VirtualList rows={rows} startAt={talk.unreadFrom && "unread"} stick={sent.current} reveal={talk.revealed} label={text.messages} onTop={() => void talk.loadEarlier()} toEnd={text.newest}
          render={(row) => <RowView chat={chat} talk={talk} row={row} />} />
      ) : <div class="lines" />}
      <p class="hidden" role="status">{talk.lastHeard}</p>
      {talk.chosen ? <Forwarding chat={chat} talk={talk} /> : <Composer chat={chat} talk={talk} onSend={() => { sent.current += 1; }} />}
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
  const bubble = <Bubble chat={chat} talk={talk} line={row.line} isFirst={row.isFirst} />;
  if (!talk.chosen || !row.line.message) return bubble;
  // The words of the message are the name of what chooses it.
  return <label class="choice"><input type="checkbox" checked={talk.chosen.has(row.line.key)} onChange={() => talk.choose(row.line.key)} />{bubble}</label>;
}
