import { useState } from "preact/hooks";
import type { Chat } from "../model/chat";
import { linkTo } from "../model/route";
import { text } from "../text";
import { Finder } from "./contacts";
import { Person, Sheet } from "./parts";

export function NewGroup({ chat }: { chat: Chat }) {
  const [chosen, setChosen] = useState<string[]>([]);
  const [problem, setProblem] = useState("");
  const choose = (userId: string) => setChosen((before) => (before.includes(userId) ? before.filter((other) => other !== userId) : [...before, userId]));
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const fields = new FormData(event.target as HTMLFormElement);
    try {
      const id = await chat.client.groups.create({ name: String(fields.get("name")).trim(), isLarge: fields.get("large") !== null }, chosen);
      await chat.people.refreshGroup(id);
      await chat.entries.refresh();
      location.hash = linkTo({ kind: "group", id });
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    }
  };
  const others = chat.people.friends.map(({ userId }) => userId);
  return (
    <Sheet title={text.newGroup}>
      <form id="group" class="fields" onSubmit={submit}>
        <label>{text.name}<input name="name" maxLength={100} required autocomplete="off" /></label>
        <label class="check"><input name="large" type="checkbox" /> {text.large} <span class="note">{text.largeHint}</span></label>
      </form>
      <h3>{text.pickMembers}</h3>
      <Finder chat={chat} action={(userId) => !chosen.includes(userId) && <Choice isChosen={false} onChoose={() => choose(userId)} />} />
      <ul class="people">
        {[...new Set([...chosen, ...others])].map((userId) => (
          <Person key={userId} chat={chat} userId={userId}><Choice isChosen={chosen.includes(userId)} onChoose={() => choose(userId)} /></Person>
        ))}
      </ul>
      <p class="problem" role="alert">{problem}</p>
      <button class="primary" form="group">{text.create}</button>
    </Sheet>
  );
}

function Choice({ isChosen, onChoose }: { isChosen: boolean; onChoose: () => void }) {
  return <button type="button" aria-pressed={isChosen} onClick={onChoose}>{isChosen ? `✓ ${text.add}` : text.add}</button>;
}
