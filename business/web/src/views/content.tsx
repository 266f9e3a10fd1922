// What a message says: each kind of content in its own way. Everything in it is a stranger's.

import type { TypedContent } from "gim-client";
import type { Chat } from "../model/chat";
import { isEmoji, type Line } from "../model/lines";
import { linkTo } from "../model/route";
import type { Talk } from "../model/talk";
import { text } from "../text";
import { Forwarded } from "./forwarded";
import { FileLink, Picture, Sound, Video } from "./media";
import { Face, Icon } from "./parts";
import { Words } from "./words";

const STICKER_PX = 128;
const QUOTE_CHARS = 200;

type Place = Extract<TypedContent, { kind: "location" }>["value"];
type Card = Extract<TypedContent, { kind: "contactCard" }>["value"];
type Answer = Extract<TypedContent, { kind: "reply" }>["value"];

// `talk` is where the message stands; none for what was forwarded.
export function Content({ chat, content, words, talk }: { chat: Chat; content: TypedContent | null; words: string; talk: Talk | null }) {
  switch (content?.kind) {
    case "text": return <Words chat={chat} words={words} mentions={content.value.mentions} mentionsAll={content.value.mentionsAll} />;
    case "reply": return <Reply chat={chat} answer={content.value} talk={talk} />;
    case "sticker": {
      const { media, emoji } = content.value;
      return media ? <Picture chat={chat} media={media} width={STICKER_PX} height={STICKER_PX} label={emoji || text.sticker} /> : <p class="sticker">{isEmoji(emoji) ? emoji : "🙂"}</p>;
    }
    case "gif": return <Picture chat={chat} {...content.value} label={text.gif} />;
    case "image": return <><Picture chat={chat} {...content.value} label={content.value.caption || text.image} /><Caption chat={chat} words={content.value.caption} /></>;
    case "video": return <><Video chat={chat} {...content.value} /><Caption chat={chat} words={content.value.caption} /></>;
    case "voice": return <Sound chat={chat} {...content.value} />;
    case "file": return <FileLink chat={chat} {...content.value} />;
    case "location": return <Location place={content.value} />;
    case "contactCard": return <Contact chat={chat} card={content.value} />;
    case "mergedForward": return <Forwarded chat={chat} content={content.value} />;
    case "custom": return content.value.preview ? <Words chat={chat} words={words} /> : <p class="hint">{text.unknown}</p>;
    default: return words === text.unknown ? <p class="hint">{words}</p> : <Words chat={chat} words={words} />;
  }
}

// Shown large, without a bubble around it.
export function isBig({ content, text }: Pick<Line, "content" | "text">): boolean {
  return (content?.kind === "sticker" && !content.value.media) || ((content === null || content.kind === "text") && isEmoji(text));
}

function Caption({ chat, words }: { chat: Chat; words: string }) {
  return words ? <Words chat={chat} words={words} /> : null;
}

function Reply({ chat, answer: { messageId, senderId, quote, text: said }, talk }: { chat: Chat; answer: Answer; talk: Talk | null }) {
  // The message itself, where it is here: a quote says what whoever replies wants it to.
  const answered = talk?.lines.find(({ key }) => key === String(messageId));
  const id = answered ? answered.message?.from?.userId ?? "" : senderId > 0n ? String(senderId) : "";
  const name = id && chat.people.nameOf({ kind: "user", id });
  const words = answered ? answered.text.slice(0, QUOTE_CHARS) : quote || text.message;
  const quoted = <>{name && <strong dir="auto">{name}{answered ? "" : " ?"}</strong>}<span dir="auto">{words}</span></>;
  return (
    <>
      {talk ? <button class="quote" title={answered ? text.goToAnswered : text.unprovedQuote} onClick={() => void talk.reveal(String(messageId))}>{quoted}</button> : <span class="quote" title={text.unprovedQuote}>{quoted}</span>}
      <Words chat={chat} words={said?.text ?? ""} mentions={said?.mentions ?? []} mentionsAll={said?.mentionsAll ?? false} />
    </>
  );
}

function Location({ place: { latitude, longitude, title, address } }: { place: Place }) {
  const [north, east] = [latitude.toFixed(6), longitude.toFixed(6)];
  return (
    <a class="card-link" href={`https://www.openstreetmap.org/?mlat=${north}&mlon=${east}#map=16/${north}/${east}`} target="_blank" rel="noopener noreferrer">
      <Icon name="place" />
      <span class="about"><strong dir="auto">{title || address || text.place}</strong>{title && address && <span dir="auto">{address}</span>}<span class="note">{north}, {east} · {text.showMap}</span></span>
    </a>
  );
}

function Contact({ chat, card: { userId, nickname } }: { chat: Chat; card: Card }) {
  const id = String(userId);
  const name = chat.people.knownName(id) || nickname || chat.people.nameOf({ kind: "user", id });
  return (
    <a class="card-link" href={linkTo({ kind: "user", id })}>
      <Face name={name} id={id} />
      <span class="about"><strong dir="auto">{name}</strong><span class="note">{text.contact} · {text.number} {id}</span></span>
    </a>
  );
}
