// A text as it was written, never as markup, with those whom it means.

import { useState } from "preact/hooks";
import type { Chat } from "../model/chat";
import { isEmoji, isVisible } from "../model/lines";
import { linkTo } from "../model/route";
import { text } from "../text";

// Longer texts are folded.
const FOLDED_CHARS = 1500;

export type Mention = { userId: bigint; offset: number; length: number };

export function Words({ chat, words, mentions = [], mentionsAll = false }: { chat: Chat; words: string; mentions?: Mention[]; mentionsAll?: boolean }) {
  const [isWhole, setWhole] = useState(false);
  if (!isVisible(words) && !isEmoji(words)) return <p class="hint">{text.invisible}</p>;
  const isFolded = !isWhole && words.length > FOLDED_CHARS;
  const shown = isFolded ? `${words.slice(0, FOLDED_CHARS)} …` : words;
  return (
    <>
      <p dir="auto" class={mentionsAll ? "to-all" : undefined}>{mentions.length > 0 ? partsOf(chat, shown, mentions) : shown}</p>
      {isFolded && <button class="quiet" onClick={() => setWhole(true)}>{text.showAll}</button>}
    </>
  );
}

function partsOf(chat: Chat, words: string, mentions: Mention[]) {
  const parts: preact.ComponentChild[] = [];
  let end = 0;
  for (const { userId, offset, length } of [...mentions].sort((one, other) => one.offset - other.offset)) {
    if (offset < end || length === 0 || offset + length > words.length) continue;
    const id = String(userId);
    parts.push(words.slice(end, offset));
    parts.push(<a key={offset} class={id === chat.account.user_id ? "mention me" : "mention"} href={linkTo({ kind: "user", id })}>{words.slice(offset, offset + length)}</a>);
    end = offset + length;
  }
  return [...parts, words.slice(end)];
}
