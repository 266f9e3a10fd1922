// What others send is only an address: whether this page may load it by itself, and how large it is.

import type { Config } from "./app";

const LOADING_MS = 15_000;

// null for what is no address of the web. Nothing else is ever put into a link or loaded.
export function webAddress(url: string): URL | null {
  const address = URL.canParse(url) ? new URL(url) : null;
  return address && /^https?:$/.test(address.protocol) && !address.username && !address.password ? address : null;
}

// Pictures that come from where the operator says are shown at once; whoever sends another one would learn the reader's address, so
// that is shown when it is asked for. The page's own site is no exception: it may have other applications, to which one is signed in.
export class Shown {
  private readonly asked = new Set<string>();

  constructor(private readonly config: Config) {}

  has(address: URL): boolean {
    const isTrusted = address.origin !== location.origin && this.config.media_origins.some((origin) => origin === "*" || origin === address.origin);
    return isTrusted || this.asked.has(address.href);
  }

  ask(address: URL): void {
    this.asked.add(address.href);
  }
}

const THUMBNAIL_BYTES_MAX = 16 * 1024;
const THUMBNAIL_PX_MAX = 512;
const thumbnails = new WeakMap<Uint8Array, string>();

// A small picture that came with a message: a JPEG that is as small as it looks. Others may have few bytes and fill the memory.
export function thumbnailOf(bytes: Uint8Array): string | undefined {
  const known = thumbnails.get(bytes);
  if (known !== undefined) return known || undefined;
  const url = isSmallJpeg(bytes) ? `data:image/jpeg;base64,${btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""))}` : "";
  thumbnails.set(bytes, url);
  return url || undefined;
}

// By the first frame header, from marker to marker.
function isSmallJpeg(bytes: Uint8Array): boolean {
  if (bytes.length > THUMBNAIL_BYTES_MAX || bytes[0] !== 0xff || bytes[1] !== 0xd8) return false;
  for (let at = 2; at + 9 < bytes.length && bytes[at] === 0xff; ) {
    const marker = bytes[at + 1]!;
    const word = (place: number) => bytes[place]! * 256 + bytes[place + 1]!;
    if (marker >= 0xc0 && marker <= 0xc2) return word(at + 5) <= THUMBNAIL_PX_MAX && word(at + 7) <= THUMBNAIL_PX_MAX;
    if (marker === 0xda || marker < 0xc0) return false;
    at += 2 + word(at + 2);
  }
  return false;
}

// Fails where there is no picture.
export function sizeOfPicture(url: string): Promise<{ width: number; height: number }> {
  const image = new Image();
  image.referrerPolicy = "no-referrer";
  return loaded(image, "load", url, () => ({ width: image.naturalWidth, height: image.naturalHeight }));
}

// Fails where there is no video, or nothing to hear. 0 for what is so new that nobody knows how long it is.
export function measure(kind: "audio" | "video", url: string): Promise<{ durationMs: number; width: number; height: number }> {
  const media = document.createElement(kind);
  media.preload = "metadata";
  const size = media instanceof HTMLVideoElement ? media : null;
  return loaded(media, "loadedmetadata", url, () => {
    const durationMs = Number.isFinite(media.duration) ? Math.min(2 ** 32 - 1, Math.max(1, Math.round(1000 * media.duration))) : 0;
    return { durationMs, width: size?.videoWidth ?? 0, height: size?.videoHeight ?? 0 };
  });
}

function loaded<T>(element: HTMLElement & { src: string }, event: string, url: string, result: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(reject, LOADING_MS);
    element.addEventListener(event, () => resolve(result()), { once: true });
    element.addEventListener("error", reject, { once: true });
    element.addEventListener(event, () => clearTimeout(timer), { once: true });
    element.src = url;
  });
}

const WAVE_PARTS = 64;

// How loud it is, part by part: 255 for the loudest one.
export async function waveformOf(sound: Blob): Promise<Uint8Array> {
  const context = new OfflineAudioContext(1, 1, 8000);
  const samples = (await context.decodeAudioData(await sound.arrayBuffer())).getChannelData(0);
  const length = Math.max(1, Math.floor(samples.length / WAVE_PARTS));
  const loud = Array.from({ length: Math.min(WAVE_PARTS, samples.length) }, (_, part) => samples.subarray(part * length, (part + 1) * length).reduce((most, sample) => Math.max(most, Math.abs(sample)), 0));
  const loudest = Math.max(...loud, 0.01);
  return Uint8Array.from(loud, (one) => Math.round((255 * one) / loudest));
}
