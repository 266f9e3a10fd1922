// What else than words may be sent: by its address on the web, a place, or somebody to introduce.

import { useEffect, useRef, useState } from "preact/hooks";
import type { ContentKind, Target } from "gim-client";
import type { Chat } from "../model/chat";
import { measure, sizeOfPicture, webAddress } from "../model/media";
import { Recorder } from "../model/recorder";
import { durationOf, text } from "../text";
import { Finder } from "./contacts";
import { Icon, Person } from "./parts";

type Kind = Extract<ContentKind, "image" | "gif" | "voice" | "video" | "file" | "location" | "contactCard">;
type Send = (send: () => void) => void;

const KINDS: { kind: Kind; icon: Parameters<typeof Icon>[0]["name"]; label: string }[] = [
  { kind: "image", icon: "image", label: text.image }, { kind: "gif", icon: "image", label: text.gif }, { kind: "video", icon: "film", label: text.video },
  { kind: "voice", icon: "voice", label: text.voice }, { kind: "file", icon: "file", label: text.file }, { kind: "location", icon: "place", label: text.place },
  { kind: "contactCard", icon: "own", label: text.contact },
];

export function Attach({ chat, target, onDone, onClose }: { chat: Chat; target: Target; onDone: () => void; onClose: () => void }) {
  const [kind, setKind] = useState<Kind | null>(null);
  const panel = useRef<HTMLDivElement>(null);
  useEffect(() => panel.current!.querySelector<HTMLElement>("input, button")!.focus(), [kind]);
  useEffect(() => {
    const pressed = (event: PointerEvent) => { if (!panel.current!.closest(".composer-frame")!.contains(event.target as Node)) onClose(); };
    addEventListener("pointerdown", pressed);
    return () => removeEventListener("pointerdown", pressed);
  }, []);
  const send: Send = (step) => { step(); onDone(); };
  const chosen = KINDS.find((one) => one.kind === kind);
  return (
    <div class="attach" ref={panel} role="group" aria-label={chosen?.label ?? text.attach} onKeyDown={({ key }) => { if (key === "Escape") onClose(); }}>
      {!chosen && <div class="kinds">{KINDS.map(({ kind, icon, label }) => <button key={kind} type="button" onClick={() => setKind(kind)}><Icon name={icon} />{label}</button>)}</div>}
      {chosen && <h3>{chosen.label}</h3>}
      {kind === "location" && <PlaceForm chat={chat} target={target} send={send} />}
      {kind === "contactCard" && <ContactForm chat={chat} target={target} send={send} />}
      {kind && kind !== "location" && kind !== "contactCard" && chat.files.areOn && <FromHere chat={chat} target={target} kind={kind} send={send} />}
      {kind && kind !== "location" && kind !== "contactCard" && <MediaForm chat={chat} target={target} kind={kind} send={send} />}
    </div>
  );
}

// Whether what asked is no longer in the page.
function useGone() {
  const isGone = useRef(false);
  useEffect(() => () => { isGone.current = true; }, []);
  return isGone;
}

const ACCEPTED = { image: "image/*", gif: "image/gif", video: "video/*", voice: "audio/*", file: "" };

// What is on this device, or said into it.
function FromHere({ chat, target, kind, send }: { chat: Chat; target: Target; kind: keyof typeof ACCEPTED; send: Send }) {
  const input = useRef<HTMLInputElement>(null);
  if (kind === "voice") return <Recording chat={chat} target={target} send={send} />;
  const chosen = () => {
    const files = [...(input.current!.files ?? [])];
    if (files.length > 0) send(() => chat.uploads.begin(target, files));
  };
  return (
    <p class="from-here">
      <input ref={input} class="hidden" type="file" multiple accept={ACCEPTED[kind]} tabIndex={-1} aria-label={text.fromDevice} onChange={chosen} />
      <button type="button" class="primary" onClick={() => input.current!.click()}>{text.fromDevice}</button>
    </p>
  );
}

function Recording({ chat, target, send }: { chat: Chat; target: Target; send: Send }) {
  const [recorder, setRecorder] = useState<Recorder | null>(null);
  const [seconds, setSeconds] = useState(0);
  const [problem, setProblem] = useState("");
  const [isAsking, setAsking] = useState(false);
  const isGone = useGone();
  useEffect(() => {
    if (!recorder) return;
    const timer = setInterval(() => setSeconds(Math.floor((Date.now() - recorder.fromMs) / 1000)), 250);
    return () => { clearInterval(timer); recorder.leave(); };
  }, [recorder]);
  const end = async (ended: Recorder) => {
    const file = await ended.end();
    // Nothing is sent that nobody sees.
    if (!isGone.current) send(() => chat.uploads.begin(target, [file], true));
  };
  const begin = async () => {
    setAsking(true);
    try {
      const begun: Recorder = await Recorder.begin(() => void end(begun));
      // Allowed when the panel was closed already.
      if (isGone.current) return begun.leave();
      setRecorder(begun);
    } catch {
      setProblem(text.noMicrophone);
      setAsking(false);
    }
  };
  return (
    <p class="from-here">
      {recorder ? <button type="button" class="primary" onClick={() => void end(recorder)}>{text.send} · {durationOf(1000 * seconds)}</button> : <button type="button" class="primary" disabled={isAsking} onClick={() => void begin()}>{text.record}</button>}
      <span class="problem" role="alert">{problem}</span>
    </p>
  );
}

function MediaForm({ chat, target, kind, send }: { chat: Chat; target: Target; kind: Exclude<Kind, "location" | "contactCard">; send: Send }) {
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const isGone = useGone();
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const fields = new FormData(event.target as HTMLFormElement);
    const address = webAddress(String(fields.get("url")).trim());
    if (!address) return setProblem(text.noAddress);
    const url = address.href;
    const words = String(fields.get("words") ?? "").trim();
    setBusy(true);
    try {
      const step = await stepOf(chat, target, kind, url, words);
      if (isGone.current) return;
      // It was loaded here just now.
      chat.shown.ask(address);
      send(step);
    } catch {
      setProblem(text.notLoaded);
      setBusy(false);
      input.current?.focus();
    }
  };
  const label = kind === "file" ? text.name : text.caption;
  return (
    <form class="fields" onSubmit={submit}>
      <input ref={input} name="url" type="url" inputMode="url" maxLength={2000} aria-label={text.address} placeholder="https://…" autocomplete="off" required />
      {kind !== "voice" && kind !== "gif" && <input name="words" maxLength={250} aria-label={label} placeholder={label} autocomplete="off" dir="auto" />}
      <button class="primary" disabled={isBusy}>{text.send}</button>
      <p class="problem" role="alert">{problem}</p>
    </form>
  );
}

// Fails where there is no such thing at that address. What somebody sends, that one's own page may load.
async function stepOf(chat: Chat, target: Target, kind: Exclude<Kind, "location" | "contactCard">, url: string, words: string): Promise<() => void> {
  const { outgoing } = chat;
  const media = { url };
  if (kind === "file") {
    const name = words || decodeName(new URL(url).pathname.split("/").pop() ?? "") || new URL(url).hostname;
    return () => outgoing.send(target, "file", { media, name });
  }
  if (kind === "image" || kind === "gif") {
    const size = await sizeOfPicture(url);
    return () => (kind === "gif" ? outgoing.send(target, "gif", { media, ...size }) : outgoing.send(target, "image", { media, ...size, caption: words }));
  }
  const { durationMs, width, height } = await measure(kind === "voice" ? "audio" : "video", url);
  return () => (kind === "voice" ? outgoing.send(target, "voice", { media, durationMs: Math.max(1, durationMs) }) : outgoing.send(target, "video", { media, durationMs, width, height, caption: words }));
}

function decodeName(part: string): string {
  try {
    return decodeURIComponent(part).slice(0, 250);
  } catch {
    return part.slice(0, 250);
  }
}

function PlaceForm({ chat, target, send }: { chat: Chat; target: Target; send: Send }) {
  const form = useRef<HTMLFormElement>(null);
  const [problem, setProblem] = useState("");
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const fields = new FormData(form.current!);
    const [latitude, longitude] = [Number(fields.get("latitude")), Number(fields.get("longitude"))];
    send(() => chat.outgoing.send(target, "location", { latitude, longitude, title: String(fields.get("title")).trim() }));
  };
  const here = () => navigator.geolocation.getCurrentPosition(({ coords }) => {
    if (!form.current) return;
    form.current!.latitude.value = coords.latitude.toFixed(6);
    form.current!.longitude.value = coords.longitude.toFixed(6);
  }, () => setProblem(text.noPlace), { enableHighAccuracy: true, timeout: 15_000 });
  return (
    <form class="fields" ref={form} onSubmit={submit}>
      <span class="pair">
        <input name="latitude" type="number" step="any" min="-90" max="90" aria-label={text.latitude} placeholder={text.latitude} required />
        <input name="longitude" type="number" step="any" min="-180" max="180" aria-label={text.longitude} placeholder={text.longitude} required />
      </span>
      <input name="title" maxLength={250} aria-label={text.caption} placeholder={text.caption} autocomplete="off" dir="auto" />
      <span class="pair"><button type="button" onClick={here}>{text.whereIAm}</button><button class="primary">{text.send}</button></span>
      <p class="problem" role="alert">{problem}</p>
    </form>
  );
}

function ContactForm({ chat, target, send }: { chat: Chat; target: Target; send: Send }) {
  const introduce = (userId: string) => send(() => chat.outgoing.send(target, "contactCard", { userId: BigInt(userId), nickname: chat.people.nameOf({ kind: "user", id: userId }) }));
  const action = (userId: string) => <button type="button" onClick={() => introduce(userId)}>{text.send}</button>;
  return (
    <>
      <Finder chat={chat} action={action} />
      <ul class="people">{chat.people.friends.map(({ userId }) => <Person key={userId} chat={chat} userId={userId}>{action(userId)}</Person>)}</ul>
    </>
  );
}
