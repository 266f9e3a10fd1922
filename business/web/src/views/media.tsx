// Pictures, sounds, videos and files that lie elsewhere. No address but one of the web is used, no other site learns where it was used,
// and a picture of a site that the operator does not know is loaded when it is asked for. Boxes have their size before anything is loaded.

import { useEffect, useReducer, useRef, useState } from "preact/hooks";
import type { Chat } from "../model/chat";
import type { StoredFile } from "../model/files";
import { thumbnailOf, webAddress } from "../model/media";
import { bytesOf, durationOf, text } from "../text";
import { Icon } from "./parts";

const BOX_PX = 280;
// Room for the words on what is not loaded yet.
const BOX_PX_MIN = 170;
const NARROWEST = 0.4;
const UNKNOWN_RATIO = 4 / 3;
const BARS = 32;

type Media = { url: string; fileId: string; mediaType: string; sizeBytes: bigint };

// Where it lies: at an address of the web, or on the server, which gives one. null where it is nowhere, and as long as that is asked.
interface Place {
  address: URL | null;
  isAsking: boolean;
  // Of the operator's own.
  isOurs: boolean;
  // What may be shown of a picture of ours at once: it is small, and the server has looked into it.
  small: URL | null;
}

// Beyond these a picture is loaded when it is asked for.
const SMALL_BYTES = 512 * 1024;
const SMALL_PIXELS = 4_000_000;

function usePlace(chat: Chat, media: Media | undefined): Place {
  const fileId = media?.url ? "" : media?.fileId ?? "";
  const [found, setFound] = useState<{ fileId: string; file: StoredFile | null } | null>(null);
  useEffect(() => {
    let isWanted = true;
    if (fileId) void chat.files.about(fileId).then((file) => { if (isWanted) setFound({ fileId, file }); });
    return () => { isWanted = false; };
  }, [chat, fileId]);
  if (!fileId) return { address: webAddress(media?.url ?? ""), isAsking: false, isOurs: false, small: null };
  const isFound = found?.fileId === fileId;
  const file = isFound ? found.file : null;
  return { address: webAddress(file?.url ?? ""), isAsking: !isFound, isOurs: true, small: file && webAddress(smallOf(file)) };
}

function smallOf({ url, thumbnail_url, size_bytes, width = 0, height = 0 }: StoredFile): string {
  const isSmall = width > 0 && height > 0 && width * height <= SMALL_PIXELS && size_bytes <= SMALL_BYTES;
  return thumbnail_url ?? (isSmall ? url : "");
}

export function Picture({ chat, media, width = 0, height = 0, thumbnail, label }: { chat: Chat; media?: Media | undefined; width?: number; height?: number; thumbnail?: Uint8Array; label: string }) {
  const [, again] = useReducer<number, void>((count) => count + 1, 0);
  const [isBroken, setBroken] = useState(false);
  const { address, isAsking, isOurs, small: ours } = usePlace(chat, media);
  const style = boxOf(width, height);
  if (isAsking) return <span class="picture" style={style} />;
  if (!address) return <Missing label={label} />;
  // What this browser cannot show may be saved all the same.
  if (isBroken) return <a class="picture broken" style={style} href={address.href} target="_blank" rel="noopener noreferrer">{text.notLoaded}</a>;
  const isShown = chat.shown.has(address);
  if (!ours && !isShown) {
    const ask = () => { chat.shown.ask(address); again(); };
    const small = thumbnail && thumbnailOf(thumbnail);
    return (
      <button class="picture ask" style={style} onClick={ask}>
        {small && <img src={small} alt="" />}
        <span><strong>{text.showPicture}</strong><span class="host">{isOurs ? bytesOf(Number(media?.sizeBytes ?? 0)) : address.host}</span></span>
      </button>
    );
  }
  return (
    <a class="picture" style={style} href={address.href} target="_blank" rel="noopener noreferrer">
      <img src={(isShown ? address : ours ?? address).href} alt={label} referrerpolicy="no-referrer" decoding="async" onError={() => setBroken(true)} />
    </a>
  );
}

export function Video({ chat, media, width, height, durationMs, thumbnail }: { chat: Chat; media?: Media | undefined; width: number; height: number; durationMs: number; thumbnail: Uint8Array }) {
  const [isPlaying, setPlaying] = useState(false);
  const { address, isAsking, isOurs } = usePlace(chat, media);
  const style = boxOf(width || 16, height || 9);
  if (isAsking) return <span class="picture" style={style} />;
  if (!address) return <Missing label={text.video} />;
  const small = thumbnailOf(thumbnail);
  if (isPlaying) return <video class="picture" style={style} src={address.href} controls autoplay playsInline aria-label={text.video} />;
  return (
    <button class="picture ask" style={style} onClick={() => setPlaying(true)}>
      {small && <img src={small} alt="" />}
      <span><Icon name="play" /><strong>{text.play} {durationMs > 0 && durationOf(durationMs)}</strong>{!isOurs && <span class="host">{address.host}</span>}</span>
    </button>
  );
}

// Nothing is loaded until it is played.
export function Sound({ chat, media, durationMs, waveform }: { chat: Chat; media?: Media | undefined; durationMs: number; waveform: Uint8Array }) {
  const audio = useRef<HTMLAudioElement | null>(null);
  const [state, setState] = useState<"quiet" | "playing" | "broken">("quiet");
  const [played, setPlayed] = useState(0);
  useEffect(() => () => audio.current?.pause(), []);
  const { address, isAsking, isOurs } = usePlace(chat, media);
  if (!address) return isAsking ? <span class="sound" /> : <Missing label={text.voice} />;
  const lengthMs = () => { const known = audio.current?.duration ?? NaN; return Number.isFinite(known) ? 1000 * known : durationMs; };
  const element = (): HTMLAudioElement => {
    if (audio.current) return audio.current;
    const made = new Audio(address.href);
    made.addEventListener("timeupdate", () => setPlayed(Math.min(1, (1000 * made.currentTime) / lengthMs())));
    made.addEventListener("ended", () => { setState("quiet"); setPlayed(0); });
    made.addEventListener("pause", () => setState((before) => (before === "playing" ? "quiet" : before)));
    made.addEventListener("error", () => setState("broken"));
    return (audio.current = made);
  };
  const press = () => {
    if (state === "playing") return element().pause();
    setState("playing");
    element().play().catch((error: DOMException) => { if (error.name !== "AbortError") setState("broken"); });
  };
  const seek = (event: Event) => {
    const part = Number((event.target as HTMLInputElement).value) / 100;
    if (!audio.current) return;
    audio.current.currentTime = (part * lengthMs()) / 1000;
    setPlayed(part);
  };
  return (
    <span class="sound" title={address.host}>
      <button class="round" aria-label={state === "playing" ? text.pause : text.play} onClick={press}><Icon name={state === "playing" ? "pause" : "play"} /></button>
      <span class="wave">
        <span class="bars" aria-hidden="true">{barsOf(waveform).map((height, index) => <i key={index} class={index < played * BARS ? "past" : undefined} style={{ height: `${height}%` }} />)}</span>
        <input type="range" disabled={!audio.current} min="0" max="100" value={Math.round(100 * played)} aria-label={text.position} onInput={seek} />
      </span>
      <span class="note">{state === "broken" ? text.notLoaded : durationOf(played > 0 ? played * durationMs : durationMs)}{!isOurs && <span class="host"> {address.host}</span>}</span>
    </span>
  );
}

export function FileLink({ chat, media, name }: { chat: Chat; media?: Media | undefined; name: string }) {
  const { address, isAsking, isOurs } = usePlace(chat, media);
  const shown = plainName(name);
  const size = media && media.sizeBytes > 0n ? bytesOf(Number(media.sizeBytes)) : "";
  const about = <><Icon name="file" /><span class="about"><strong dir="auto">{shown}</strong><span class="note">{[size, isAsking || (isOurs && address) ? "" : address?.host ?? text.notHere].filter(Boolean).join(" · ")}</span></span></>;
  if (!address) return <span class="card-link">{about}</span>;
  // Saved, and not shown, where it is ours; others decide for themselves.
  const href = isOurs ? `${address.href}&download=1` : address.href;
  return <a class="card-link" href={href} download={shown} target="_blank" rel="noopener noreferrer">{about}</a>;
}

function Missing({ label }: { label: string }) {
  return <p class="hint">{label}: {text.notHere}</p>;
}

// Without what would turn a part of it around: "exe.jpg" may be "gpj.exe".
function plainName(name: string): string {
  return name.replace(/[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, "");
}

// At most a square of this size, and never so narrow or flat that nothing can be seen.
function boxOf(width: number, height: number): { width: string; aspectRatio: string } {
  const given = width > 0 && height > 0 ? width / height : UNKNOWN_RATIO;
  const ratio = Math.min(1 / NARROWEST, Math.max(NARROWEST, given));
  const widest = ratio >= 1 ? BOX_PX : BOX_PX * ratio;
  return { width: `${Math.round(width > 0 && height > 0 ? Math.min(widest, Math.max(width, BOX_PX_MIN)) : widest)}px`, aspectRatio: String(ratio) };
}

// How loud it is, from 8 to 100.
function barsOf(waveform: Uint8Array): number[] {
  return Array.from({ length: BARS }, (_, index) => {
    const byte = waveform.length > 0 ? waveform[Math.floor((index * waveform.length) / BARS)]! : 90 + 70 * Math.sin(index * 1.9) * Math.cos(index * 0.7);
    return Math.round(8 + (92 * byte) / 255);
  });
}
