// In the place of the composer while messages are chosen: how many there are, and where they are to go.

import { useEffect, useState } from "preact/hooks";
import type { Chat } from "../model/chat";
import { chosenOf, forward, FORWARDED_MAX } from "../model/forward";
import { keyOf, linkTo } from "../model/route";
import type { Talk } from "../model/talk";
import { text } from "../text";
import { Dialog, Face, Icon } from "./parts";

export function Forwarding({ chat, talk }: { chat: Chat; talk: Talk }) {
  const [isAsking, setAsking] = useState(false);
  useEffect(() => {
    const pressed = ({ key }: KeyboardEvent) => { if (key === "Escape" && !document.querySelector("dialog")) talk.chooseNone(); };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [talk]);
  const count = chosenOf(talk).length;
  return (
    <div class="forwarding" role="group" aria-label={text.forward}>
      <button onClick={() => talk.chooseNone()}>{text.cancel}</button>
      <span class="note" role="status">{text.chosen(count)}</span>
      <button class="primary" disabled={count === 0 || count > FORWARDED_MAX} onClick={() => setAsking(true)}><Icon name="forward" />{text.forward}</button>
      {isAsking && <Where chat={chat} talk={talk} onClose={() => setAsking(false)} />}
    </div>
  );
}

function Where({ chat, talk, onClose }: { chat: Chat; talk: Talk; onClose: () => void }) {
  const friends = chat.people.friends.map(({ userId }) => ({ kind: "user", id: userId }) as const);
  const targets = [...chat.entries.shown.map(({ target }) => target), ...friends];
  const shown = targets.filter((target, index) => targets.findIndex((other) => keyOf(other) === keyOf(target)) === index);
  return (
    <Dialog title={text.forwardTo} onClose={onClose}>
      <ul class="people">
        {shown.map((target) => {
          const name = chat.people.nameOf(target);
          const go = () => {
            onClose();
            if (forward(chat, talk, target)) location.hash = linkTo(target);
          };
          return <li key={keyOf(target)}><button class="pick" onClick={go}><Face name={name} id={target.id} kind={target.kind} /><span dir="auto">{name}</span></button></li>;
        })}
      </ul>
    </Dialog>
  );
}
