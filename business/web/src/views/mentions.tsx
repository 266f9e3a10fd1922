// Members to choose from while "@" and the beginning of a name are written in a group.

import { useRef, useState } from "preact/hooks";
import type { Chat } from "../model/chat";
import type { Named } from "../model/drafts";
import type { Talk } from "../model/talk";
import { text } from "../text";
import { Face } from "./parts";

const SHOWN_MAX = 6;

// The "@" before the cursor, and what follows it.
export interface Started {
  from: number;
  query: string;
}

export interface Mentions {
  found: Named[];
  at: number;
  look: (started: Started | null) => void;
  // Whether the key was for the list.
  pressed: (event: KeyboardEvent, onChoose: (named: Named) => void) => boolean;
}

// None within a word, as in the address of an e-mail.
export function startedMention(area: HTMLTextAreaElement): Started | null {
  const before = area.value.slice(0, area.selectionStart);
  const match = area.selectionStart === area.selectionEnd && /(?<![\w.-])@([^\s@]{0,30})$/.exec(before);
  return match ? { from: match.index, query: match[1]!.toLowerCase() } : null;
}

export function useMentions(chat: Chat, talk: Talk): Mentions {
  const [found, setFound] = useState<Named[]>([]);
  const [at, setAt] = useState(0);
  // Rises with each look: an answer to an earlier one counts no more.
  const looks = useRef(0);
  const look = (started: Started | null) => {
    const number = ++looks.current;
    if (!started) {
      if (found.length > 0) setFound([]);
      return;
    }
    void talk.namesToMention().then((members) => {
      if (looks.current !== number) return;
      const named = members.map(({ userId, nickname }): Named => ({ userId, label: `@${nickname || chat.people.nameOf({ kind: "user", id: userId })}` }));
      const all: Named[] = members.length > 0 ? [{ userId: "everybody", label: `@${text.everybody}` }, ...named] : [];
      setFound(all.filter(({ userId, label }) => label.slice(1).toLowerCase().includes(started.query) || userId === started.query).slice(0, SHOWN_MAX));
      setAt(0);
    });
  };
  const pressed = (event: KeyboardEvent, onChoose: (named: Named) => void): boolean => {
    const chosen = found[at];
    if (!chosen) return false;
    if (event.key === "ArrowDown") setAt((at + 1) % found.length);
    else if (event.key === "ArrowUp") setAt((at + found.length - 1) % found.length);
    else if ((event.key === "Enter" && !event.shiftKey) || event.key === "Tab") onChoose(chosen);
    else if (event.key === "Escape") setFound([]);
    else return false;
    event.preventDefault();
    return true;
  };
  return { found, at, look, pressed };
}

export function MentionPicker({ mentions: { found, at }, onChoose }: { mentions: Mentions; onChoose: (named: Named) => void }) {
  return (
    <ul class="mentions" id="mentions" role="listbox" aria-label={text.mention}>
      {found.map((named, index) => (
        // Pressed, not clicked, so that the cursor stays in the text.
        <li key={named.userId} id={`mention-${index}`} role="option" aria-selected={index === at} onPointerDown={(event) => { event.preventDefault(); onChoose(named); }}>
          <Face name={named.label.slice(1)} id={named.userId === "everybody" ? "0" : named.userId} /><span dir="auto">{named.label.slice(1)}</span>
        </li>
      ))}
    </ul>
  );
}
