import type { App } from "../model/app";
import type { Chat } from "../model/chat";
import type { Entry } from "../model/entries";
import { wordsOf } from "../model/lines";
import { keyOf, linkTo } from "../model/route";
import { text, when } from "../text";
import { Face, Icon } from "./parts";

// Characters of a message in the list.
const WORDS_CHARS = 200;

export function Conversations({ app, chat }: { app: App; chat: Chat }) {
  const { route } = app;
  const open = route.name === "talk" ? keyOf(route.target) : "";
  const { shown } = chat.entries;
  const requests = chat.people.requests.length;
  const name = chat.people.nameOf({ kind: "user", id: chat.account.user_id });
  return (
    <nav class="conversations" aria-label={text.conversations}>
      <header>
        <h1>{text.conversations}</h1>
        <a class="tool" href="#new-group" aria-label={text.newGroup} title={text.newGroup} aria-current={route.name === "new-group" ? "page" : undefined}><Icon name="group" /></a>
        <a class="tool" href="#contacts" aria-label={requests > 0 ? `${text.contacts} (${requests})` : text.contacts} title={text.contacts} aria-current={route.name === "contacts" ? "page" : undefined}>
          <Icon name="contacts" />{requests > 0 && <span class="dot" aria-hidden="true">{requests}</span>}
        </a>
      </header>
      {shown.length === 0 && <p class="hint">{text.noConversations}</p>}
      <ul>{shown.map((entry) => <Row key={keyOf(entry.target)} chat={chat} entry={entry} isOpen={keyOf(entry.target) === open} />)}</ul>
      <a class="own" href="#own" aria-current={route.name === "own" ? "page" : undefined}>
        <Face name={name} id={chat.account.user_id} />
        <span class="own-name" dir="auto">{name}</span>
        <span class="own-number">{text.number} {chat.account.user_id}</span>
      </a>
    </nav>
  );
}

function Row({ chat, entry, isOpen }: { chat: Chat; entry: Entry; isOpen: boolean }) {
  const { target, newest, unread, activeAtMs, isMeant, isMuted, isMarkedUnread, pinnedRank } = entry;
  const name = chat.people.nameOf(target);
  return (
    <li>
      <a class={isMuted ? "entry muted" : "entry"} href={linkTo(target)} aria-current={isOpen ? "page" : undefined} data-key={keyOf(target)}>
        <Face name={name} id={target.id} kind={target.kind} />
        <span class="name" dir="auto">{name}</span>
        <span class="marks">
          {isMuted && <span role="img" aria-label={text.muted} title={text.muted}><Icon name="mute" /></span>}
          {pinnedRank > 0 && <span role="img" aria-label={text.pinned} title={text.pinned}><Icon name="pin" /></span>}
          <time>{newest || target.kind === "group" ? when(activeAtMs) : ""}</time>
        </span>
        <span class="last">{isMeant && <span class="meant">{text.meant} </span>}<Last chat={chat} entry={entry} /></span>
        {unread > 0 ? <span class="unread">{unread > 99 ? "99+" : unread}<span class="hidden"> {text.unreadCount}</span></span>
          : isMarkedUnread && <span class="unread mark"><span class="hidden">{text.unreadCount}</span></span>}
      </a>
    </li>
  );
}

// The first words of what was said last, and who said it: each in the direction of its own script.
function Last({ chat, entry: { target, newest, preview } }: { chat: Chat; entry: Entry }) {
  const draft = chat.drafts.of(target).words.trim();
  if (draft) return <>✎ <bdi>{draft.slice(0, WORDS_CHARS)}</bdi></>;
  if (!newest) return null;
  const words = <bdi>{(preview || wordsOf(newest, chat.people)).slice(0, WORDS_CHARS)}</bdi>;
  if (!newest.from || newest.status !== "normal" || (target.kind === "user" && !newest.isOwn)) return words;
  return <><bdi>{newest.isOwn ? text.you : chat.people.nameOf({ kind: "user", id: newest.from.userId })}</bdi>: {words}</>;
}
