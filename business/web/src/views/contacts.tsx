// Finding people, friends, and who is blocked.

import { useState } from "preact/hooks";
import type { User } from "gim-client";
import type { Chat } from "../model/chat";
import { text } from "../text";
import { Person, Sheet, SureButton } from "./parts";

export function Contacts({ chat }: { chat: Chat }) {
  const { people, client } = chat;
  return (
    <Sheet title={text.contacts}>
      <Finder chat={chat} action={(userId) => <FriendButton chat={chat} userId={userId} />} />
      {people.requests.length > 0 && (
        <section>
          <h3>{text.requests}</h3>
          <ul class="people">
            {people.requests.map(({ userId, description }) => (
              <Person key={userId} chat={chat} userId={userId} note={description}>
                <button class="primary" onClick={() => void people.change(client.friends.agree(userId))}>{text.agree}</button>
                <button onClick={() => void people.change(client.friends.remove(userId))}>{text.refuse}</button>
              </Person>
            ))}
          </ul>
        </section>
      )}
      <section>
        <h3>{text.friends}</h3>
        {people.friends.length === 0 && <p class="hint">{text.noFriends}</p>}
        <ul class="people">
          {people.friends.map(({ userId }) => (
            <Person key={userId} chat={chat} userId={userId}>
              <SureButton label={text.unfriend} onSure={() => void people.change(client.friends.remove(userId))} />
            </Person>
          ))}
        </ul>
      </section>
      {people.blocked.length > 0 && (
        <section>
          <h3>{text.blocked}</h3>
          <ul class="people">
            {people.blocked.map(({ userId }) => (
              <Person key={userId} chat={chat} userId={userId}><button onClick={() => void people.change(client.friends.unblock(userId))}>{text.unblock}</button></Person>
            ))}
          </ul>
        </section>
      )}
      <RoomForm />
    </Sheet>
  );
}

export function FriendButton({ chat, userId }: { chat: Chat; userId: string }) {
  const [isAsked, setAsked] = useState(false);
  const { people, client } = chat;
  if (people.isFriend(userId)) return <span class="note">{text.friends}</span>;
  const add = () => {
    setAsked(true);
    void people.change(client.friends.add(userId));
  };
  return isAsked ? <span class="note">{text.asked}</span> : <button onClick={add}>{text.addFriend}</button>;
}

// A search, and something to do about each who is found.
export function Finder({ chat, action }: { chat: Chat; action: (userId: string) => preact.ComponentChildren }) {
  const [found, setFound] = useState<User[] | null>(null);
  const [problem, setProblem] = useState("");
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const key = String(new FormData(event.target as HTMLFormElement).get("key")).trim();
    try {
      setFound(await chat.people.find(key));
      setProblem("");
    } catch (error) {
      setProblem(String(error));
    }
  };
  return (
    <section>
      <form class="inline" role="search" onSubmit={submit}>
        <input name="key" type="search" aria-label={text.find} placeholder={text.findHint} autocomplete="off" required />
        <button>{text.find}</button>
      </form>
      <p class="problem" role="alert">{problem || (found?.length === 0 ? text.notFound : "")}</p>
      {found && found.length > 0 && (
        <ul class="people" aria-label={text.found}>
          {found.map(({ userId }) => <Person key={userId} chat={chat} userId={userId} note={`${text.number} ${userId}`}>{action(userId)}</Person>)}
        </ul>
      )}
    </section>
  );
}

function RoomForm() {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    location.hash = `room/${String(new FormData(event.target as HTMLFormElement).get("room")).trim()}`;
  };
  return (
    <section>
      <h3>{text.enterRoom}</h3>
      <form class="inline" onSubmit={submit}>
        <input name="room" inputMode="numeric" pattern="[1-9][0-9]{0,18}" aria-label={text.roomNumber} placeholder={text.roomNumber} autocomplete="off" required />
        <button>{text.enter}</button>
      </form>
    </section>
  );
}
