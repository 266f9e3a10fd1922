// What several views are made of.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
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
