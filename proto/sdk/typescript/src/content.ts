// Contents that every chat needs, instead of bytes of the app's own (PROTOCOL.md, part 13).

import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { MessageCommand } from "./generated/connect_pb.js";
import * as schemas from "./generated/content_pb.js";
import { textOf, type Sender } from "./message.js";
import { decode, encode } from "./wire.js";

const KINDS = {
  text: [MessageCommand.MC_TEXT, schemas.TextSchema],
  sticker: [MessageCommand.MC_STICKER, schemas.StickerSchema],
  gif: [MessageCommand.MC_GIF, schemas.GifSchema],
  image: [MessageCommand.MC_IMAGE, schemas.ImageSchema],
  voice: [MessageCommand.MC_VOICE, schemas.VoiceSchema],
  video: [MessageCommand.MC_VIDEO, schemas.VideoSchema],
  file: [MessageCommand.MC_FILE, schemas.FileSchema],
  location: [MessageCommand.MC_LOCATION, schemas.LocationSchema],
  contactCard: [MessageCommand.MC_CONTACT_CARD, schemas.ContactCardSchema],
  mergedForward: [MessageCommand.MC_MERGED_FORWARD, schemas.MergedForwardSchema],
  reply: [MessageCommand.MC_REPLY, schemas.ReplySchema],
  custom: [MessageCommand.MC_CUSTOM, schemas.CustomSchema],
} as const;

type Kinds = typeof KINDS;
export type ContentKind = keyof Kinds;
// The fields of a content that is to be sent; what is left out is empty.
export type ContentFields<K extends ContentKind> = MessageInitShape<Kinds[K][1]>;
export type TypedContent = { [K in ContentKind]: { kind: K; value: MessageShape<Kinds[K][1]> } }[ContentKind];

const KIND_OF = new Map(Object.entries(KINDS).map(([kind, [command]]) => [command as number, kind as ContentKind]));
const PLAIN: number[] = [MessageCommand.MC_USER_MESSAGE, MessageCommand.MC_GROUP_MESSAGE];
const PREVIEW_CHARS_MAX = 100, LOOKED_AT_CHARS_MAX = 4000;

// As `Client.send` takes it.
export function encodeContent<K extends ContentKind>(kind: K, fields: ContentFields<K>): { command: number; content: Uint8Array } {
  const [command, schema] = KINDS[kind];
  return { command, content: encode(schema as DescMessage, fields as MessageInitShape<DescMessage>) };
}

// What a message says. Null where its bytes are of the app's own, and where there is nothing left of it.
export function contentOf(message: { command: number; content: Uint8Array }): TypedContent | null {
  const kind = KIND_OF.get(message.command);
  if (!kind) return null;
  try {
    return { kind, value: decode(KINDS[kind][1] as DescMessage, message.content) } as unknown as TypedContent;
  } catch {
    return null;
  }
}

// One line for lists and notifications, in no language: of a typed content, and of the text of a plain message. "" for what is neither.
export function previewOf(message: { command: number; content: Uint8Array; from?: Sender | null }): string {
  return oneLine(PLAIN.includes(message.command) && message.from !== null ? textOf(message) : lineOf(contentOf(message)));
}

function lineOf(content: TypedContent | null): string {
  const beside = (symbol: string, text: string) => (text ? `${symbol} ${text}` : symbol);
  switch (content?.kind) {
    case "text": return content.value.text;
    case "reply": return content.value.text?.text ?? "";
    case "sticker": return content.value.emoji || "🙂";
    case "gif": return "GIF";
    case "image": return beside("📷", content.value.caption);
    case "voice": return beside("🎤", clock(content.value.durationMs));
    case "video": return beside("🎬", content.value.caption);
    case "file": return beside("📎", content.value.name);
    case "location": return beside("📍", content.value.title || content.value.address);
    case "contactCard": return beside("👤", content.value.nickname);
    case "mergedForward": return beside("💬", content.value.title);
    case "custom": return content.value.preview;
    default: return "";
  }
}

// Without control characters, and without those that change the direction of what stands beside it.
function oneLine(text: string): string {
  const begin = [...text.slice(0, 2 * LOOKED_AT_CHARS_MAX)].slice(0, LOOKED_AT_CHARS_MAX).join("");
  const spaced = begin.replace(/\p{White_Space}+/gu, " ");
  const line = [...spaced.replace(/[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/gu, "").replace(/ +/g, " ").trim()];
  if (line.length <= PREVIEW_CHARS_MAX) return line.join("");
  return `${line.slice(0, PREVIEW_CHARS_MAX - 1).join("").replace(/[ \u200d]+$/u, "")}…`;
}

function clock(durationMs: number): string {
  const seconds = Math.ceil(durationMs / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
