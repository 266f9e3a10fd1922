// About the conversation that is open: what the user sets of it, and of a group its name and members.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Group, Member, Peer, Target } from "gim-client";
import type { Chat } from "../model/chat";
import { linkTo } from "../model/route";
import { text } from "../text";
import { FriendButton, Finder } from "./contacts";
import { Face, Icon, Person, SureButton } from "./parts";

const MEMBERS_PAGE = 100;

export function Info({ chat, target }: { chat: Chat; target: Target }) {
  const close = useRef<HTMLAnchorElement>(null);
  // The focus comes here, and goes back to where it came from.
  useEffect(() => {
    const before = document.activeElement;
    close.current?.focus();
    return () => { if (before instanceof HTMLElement) before.focus(); };
  }, []);
  const name = chat.people.nameOf(target);
  const group = target.kind === "group" ? chat.people.groups.get(target.id) : undefined;
  return (
    <aside class="info" aria-label={text.info} onKeyDown={({ key }) => { if (key === "Escape") location.hash = linkTo(target); }}>
      <header>
        <h2>{text.info}</h2>
        <a class="tool" ref={close} href={linkTo(target)} aria-label={text.close} title={text.close}><Icon name="close" /></a>
      </header>
      <div class="sheet-body">
        <div class="card"><Face name={name} id={target.id} kind={target.kind} /><p><strong dir="auto">{name}</strong><br /><span class="note">{numberOf(target)}</span></p></div>
        {target.kind === "room" ? <p><button onClick={() => { chat.entries.remove(target); chat.leaveRoom(); }}>{text.leaveRoom}</button></p> : <Settings chat={chat} target={target as Peer} />}
        {target.kind === "user" && target.id !== chat.account.user_id && <Contact chat={chat} userId={target.id} />}
        {group && <Members chat={chat} group={group} />}
      </div>
    </aside>
  );
}

function numberOf(target: Target): string {
  return `${target.kind === "user" ? text.number : target.kind === "group" ? text.group : text.room} ${target.id}`;
}

function Settings({ chat, target }: { chat: Chat; target: Peer }) {
  const entry = chat.entries.of(target);
  if (!entry) return null;
  const { pinnedRank, isMuted } = entry;
  const set = (fields: Parameters<typeof chat.entries.set>[1]) => void chat.entries.set(target, fields);
  return (
    <p class="buttons">
      <button onClick={() => set({ isPinned: pinnedRank === 0 })}>{pinnedRank > 0 ? text.unpin : text.pin}</button>
      <button onClick={() => set({ isMuted: !isMuted })}>{isMuted ? text.unmute : text.mute}</button>
      <button onClick={() => { set({ isMarkedUnread: true }); location.hash = ""; }}>{text.markUnread}</button>
      <SureButton label={text.deleteChat} onSure={() => void chat.entries.delete(target)} />
    </p>
  );
}

function Contact({ chat, userId }: { chat: Chat; userId: string }) {
  const { people, client } = chat;
  return (
    <p class="buttons">
      <FriendButton chat={chat} userId={userId} />
      {people.isBlocked(userId)
        ? <button onClick={() => void people.change(client.friends.unblock(userId))}>{text.unblock}</button>
        : <SureButton label={text.block} onSure={() => void people.change(client.friends.block(userId))} />}
    </p>
  );
}

function Members({ chat, group }: { chat: Chat; group: Group }) {
  const { client, people, account } = chat;
  const [members, setMembers] = useState<Member[]>([]);
  const [hasMore, setMore] = useState(false);
  const [limit, setLimit] = useState(MEMBERS_PAGE);
  const load = async () => {
    const found: Member[] = [];
    try {
      for await (const member of client.groups.members(group.id)) if (found.push(member) > limit) break;
    } catch (error) {
      chat.tell(error);
    }
    for (const member of found) if (member.nickname) people.knows(member);
    setMore(found.length > limit);
    setMembers(found.slice(0, limit));
  };
  useEffect(() => void load(), [group, limit]);
  const isAdmin = members.some(({ userId, isAdmin }) => userId === account.user_id && isAdmin);
  const change = async (step: Promise<void>) => {
    await step.catch((error) => chat.tell(error));
    await people.refreshGroup(group.id);
  };
  const leave = async () => {
    try {
      await client.groups.leave(group.id);
      location.hash = "";
    } catch (error) {
      chat.tell(error);
    }
  };
  return (
    <section>
      {isAdmin && <RenameForm group={group} onSave={(name) => void change(client.groups.update(group.id, { ...group, name }))} />}
      <h3>{text.members} ({group.memberCount})</h3>
      <ul class="people">
        {members.map((member) => (
          <Person key={member.userId} chat={chat} userId={member.userId} note={member.isAdmin && text.admin}>
            {isAdmin && member.userId !== account.user_id && <button onClick={() => void change(client.groups.updateMember(group.id, { ...member, isAdmin: !member.isAdmin }))}>{member.isAdmin ? text.unmakeAdmin : text.makeAdmin}</button>}
            {isAdmin && member.userId !== account.user_id && <SureButton label={text.remove} onSure={() => void change(client.groups.removeMembers(group.id, [member.userId]))} />}
          </Person>
        ))}
      </ul>
      {hasMore && <button class="quiet" onClick={() => setLimit(limit + MEMBERS_PAGE)}>{text.more}</button>}
      {isAdmin && <h3>{text.addMembers}</h3>}
      {isAdmin && <Finder chat={chat} action={(userId) => !members.some((member) => member.userId === userId) && <button onClick={() => void change(client.groups.addMembers(group.id, [userId]))}>{text.add}</button>} />}
      <p><SureButton label={text.leave} onSure={() => void leave()} /></p>
    </section>
  );
}

function RenameForm({ group, onSave }: { group: Group; onSave: (name: string) => void }) {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    onSave(String(new FormData(event.target as HTMLFormElement).get("name")).trim());
  };
  return (
    <form class="inline" onSubmit={submit} key={group.name}>
      <input name="name" aria-label={text.name} maxLength={100} defaultValue={group.name} dir="auto" required />
      <button>{text.rename}</button>
    </form>
  );
}
