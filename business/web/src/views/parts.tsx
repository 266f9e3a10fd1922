// What several views are made of.

import type { ComponentChildren } from "preact";
import { useEffect, useErrorBoundary, useRef, useState } from "preact/hooks";
import type { Chat } from "../model/chat";
import { linkTo } from "../model/route";
import { text } from "../text";

const ICONS = {
  contacts: "M9 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM2 21v-1a6 6 0 0 1 6-6h2a6 6 0 0 1 6 6v1M16 3.5a4 4 0 0 1 0 7M18 14.5a6 6 0 0 1 4 5.5v1",
  group: "M12 5v14M5 12h14",
  own: "M12 12a5 5 0 1 0 0-10 5 5 0 0 0 0 10zM3 22a9 9 0 0 1 18 0",
  info: "M12 11v6M12 7.5v.01M12 22a10 10 0 1 0 0-20 10 10 0 0 0 0 20z",
  back: "M15 4l-8 8 8 8",
  close: "M5 5l14 14M19 5L5 19",
  emoji: "M12 22a10 10 0 1 0 0-20 10 10 0 0 0 0 20zM8 14.5s1.5 2.5 4 2.5 4-2.5 4-2.5M9 9v.01M15 9v.01",
  send: "M4 12l16-8-6 16-3-6z",
  pin: "M9 3h6l-1 7 4 4H6l4-4zM12 14v7",
  mute: "M11 5L6 9H3v6h3l5 4zM16 9l5 6M21 9l-5 6",
  down: "M6 9l6 6 6-6",
  attach: "M12 5v14M5 12h14",
  more: "M5 12v.01M12 12v.01M19 12v.01",
  play: "M7 4l13 8-13 8z",
  pause: "M8 5v14M16 5v14",
  file: "M14 3H6v18h12V7zM14 3v4h4M9 13h6M9 17h6",
  place: "M12 21c4-5 7-8.5 7-12a7 7 0 1 0-14 0c0 3.500 3 7 7 12zM12 11.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5z",
  forward: "M14 5l7 7-7 7v-4C8 15 5 17 3 20c0-6 4-11 11-11z",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.500 9v.01",
  film: "M4 5h16v14H4zM8 5v14M16 5v14M4 12h16",
  voice: "M12 15a3 3 0 0 0 3-3V6a3 3 0 0 0-6 0v6a3 3 0 0 0 3 3zM6 11a6 6 0 0 0 12 0M12 17v4",
} as const;

export function Icon({ name }: { name: keyof typeof ICONS }) {
  return <svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d={ICONS[name]} /></svg>;
}

export function Face({ name, id, kind = "user" }: { name: string; id: string; kind?: "user" | "group" | "room" }) {
  const letters = /\d$/.test(name) ? id.slice(-2) : [...name.trim()][0]?.toUpperCase();
  const color = [...id].reduce((sum, digit) => sum + Number(digit), 0) % 6;
  return <span class={`face face-${color} ${kind}`} aria-hidden="true">{letters}</span>;
}

export function Banner({ chat, onSignIn }: { chat: Chat; onSignIn: () => void }) {
  const { state } = chat;
  if (state.name === "ended") {
    const isElsewhere = state.reason === "replaced" || state.reason === "kicked";
    const go = () => (isElsewhere ? chat.useHere() : onSignIn());
    return <p class="banner" role="status">{isElsewhere ? text.replaced : text.ended} <button onClick={go}>{isElsewhere ? text.useHere : text.signIn}</button></p>;
  }
  if (state.name === "waiting") return <p class="banner" role="status">{text.offline}</p>;
  return chat.isStoring ? null : <p class="banner" role="status">{text.storage}</p>;
}

// A page beside the conversations that is none itself.
export function Sheet({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <main class="sheet">
      <header>
        <a class="back" href="#" aria-label={text.back}><Icon name="back" /></a>
        <h2>{title}</h2>
      </header>
      <div class="sheet-body">{children}</div>
    </main>
  );
}

// What cannot be drawn takes nothing else with it.
export function Safe({ children }: { children: ComponentChildren }) {
  const [error] = useErrorBoundary((problem) => console.warn("content", String(problem)));
  return error ? <p class="hint">{text.unknown}</p> : <>{children}</>;
}

// Above the page, until it is closed. The browser keeps the focus in it, and takes it back afterwards.
export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current!.showModal(), []);
  // A press beside it closes it.
  const pressed = (event: MouseEvent) => { if (event.target === dialog.current) dialog.current!.close(); };
  return (
    <dialog ref={dialog} aria-label={title} onClose={(event) => { if (event.target === dialog.current) onClose(); }} onClick={pressed}>
      <header>
        <h2 dir="auto">{title}</h2>
        <button class="tool" aria-label={text.close} title={text.close} onClick={() => dialog.current!.close()}><Icon name="close" /></button>
      </header>
      <div class="dialog-body" tabIndex={0}>{children}</div>
    </dialog>
  );
}

// A button that is pressed twice, for what cannot be undone.
export function SureButton({ label, onSure }: { label: string; onSure: () => void }) {
  const [isAsking, setAsking] = useState(false);
  const press = () => {
    if (isAsking) onSure();
    setAsking(!isAsking);
  };
  return <button class="danger" onClick={press} onBlur={() => setAsking(false)}>{isAsking ? `${label}: ${text.really}` : label}</button>;
}

export function Person({ chat, userId, note, children }: { chat: Chat; userId: string; note?: ComponentChildren; children?: ComponentChildren }) {
  const name = chat.people.nameOf({ kind: "user", id: userId });
  return (
    <li class="person">
      <Face name={name} id={userId} />
      <span class="who">
        <a href={linkTo({ kind: "user", id: userId })} dir="auto">{name}</a>
        {note && <span class="note">{note}</span>}
      </span>
      <span class="actions">{children}</span>
    </li>
  );
}
