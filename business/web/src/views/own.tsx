// The user's own card.

import { useEffect, useState } from "preact/hooks";
import type { AddedBy } from "gim-client";
import type { App } from "../model/app";
import type { Chat } from "../model/chat";
import { text } from "../text";
import { Face, Sheet } from "./parts";

const RULES: [AddedBy, string][] = [["default", text.default], ["everybody", text.everybody], ["friends", text.onlyFriends], ["nobody", text.nobody]];

export function Own({ app, chat }: { app: App; chat: Chat }) {
  const { client, people, account } = chat;
  const target = { kind: "user", id: account.user_id } as const;
  const [addedBy, setAddedBy] = useState<AddedBy>("default");
  useEffect(() => void client.friends.contactRules().then((rules) => setAddedBy(rules.addedBy), () => {}), [client]);
  const save = async (event: SubmitEvent) => {
    event.preventDefault();
    const nickname = String(new FormData(event.target as HTMLFormElement).get("nickname")).trim();
    try {
      const { avatarUrl = "", extra = "" } = (await client.users.get(account.user_id)) ?? {};
      await client.users.updateOwn({ nickname, avatarUrl, extra });
      people.knows({ userId: account.user_id, nickname });
      chat.say(text.saved);
    } catch (error) {
      chat.tell(error);
    }
  };
  const rule = async (event: Event) => {
    const chosen = (event.target as HTMLSelectElement).value as AddedBy;
    try {
      await client.friends.setContactRules({ addedBy: chosen });
      setAddedBy(chosen);
      chat.say(text.saved);
    } catch (error) {
      chat.tell(error);
    }
  };
  const name = people.nameOf(target);
  return (
    <Sheet title={text.own}>
      <div class="card"><Face name={name} id={target.id} /><p><strong dir="auto">{name}</strong><br /><span class="note">{text.number} {target.id}</span></p></div>
      <form class="inline" onSubmit={save}>
        <input name="nickname" aria-label={text.nickname} placeholder={text.nickname} maxLength={40} defaultValue={name.endsWith(` ${target.id}`) ? "" : name} dir="auto" required />
        <button>{text.save}</button>
      </form>
      <label class="field">{text.addedBy}
        <select value={addedBy} onChange={rule}>{RULES.map(([value, label]) => <option key={value} value={value}>{label}</option>)}</select>
      </label>
      <Waking chat={chat} />
      <p><button onClick={() => void app.signOut()}>{text.signOut}</button></p>
    </Sheet>
  );
}

// Whether this browser is woken when no page is open; nothing where it cannot be.
function Waking({ chat }: { chat: Chat }) {
  const { woken } = chat;
  const turn = () => (woken.state === "on" ? woken.turnOff() : woken.turnOn()).catch((error) => chat.tell(error));
  if (woken.state === "no") return null;
  if (woken.state === "refused") return <p class="note">{text.wakingRefused}</p>;
  return <p><label><input type="checkbox" checked={woken.state === "on"} onChange={() => void turn()} /> {text.waking}</label></p>;
}
