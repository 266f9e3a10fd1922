// The whole page: the list of conversations, beside it what is open.

import { useEffect, useReducer, useRef, useState } from "preact/hooks";
import type { App } from "../model/app";
import type { Chat } from "../model/chat";
import { keyOf } from "../model/route";
import { text } from "../text";
import { Contacts } from "./contacts";
import { Conversations } from "./conversations";
import { Readings } from "./forwarded";
import { Info } from "./info";
import { NewGroup } from "./new-group";
import { Own } from "./own";
import { TalkView } from "./talk";

export function Page({ app }: { app: App }) {
  const [, changed] = useReducer<number, void>((count) => count + 1, 0);
  useEffect(() => app.subscribe(() => changed()), [app]);
  const { chat, route } = app;
  const unread = chat?.entries.unread ?? 0;
  useEffect(() => { document.title = unread > 0 ? `(${unread}) ${text.title}` : text.title; }, [unread]);
  if (!chat) return <SignIn app={app} />;
  const isInfo = route.name === "talk" && route.isInfo;
  return (
    <div class={`page${route.name === "none" ? "" : " is-open"}${isInfo ? " has-info" : ""}`}>
      <Conversations app={app} chat={chat} />
      <Main app={app} chat={chat} />
      {isInfo && <Info chat={chat} target={route.target} key={keyOf(route.target)} />}
      <Readings chat={chat} />
      <p class={chat.notice ? "toast" : "hidden"} role="status">{chat.notice}</p>
    </div>
  );
}

function Main({ app, chat }: { app: App; chat: Chat }) {
  const { name } = app.route;
  if (name === "contacts") return <Contacts chat={chat} />;
  if (name === "new-group") return <NewGroup chat={chat} />;
  if (name === "own") return <Own app={app} chat={chat} />;
  if (name === "talk" && chat.talk) return <TalkView app={app} chat={chat} talk={chat.talk} key={keyOf(chat.talk.target)} />;
  return <main class="talk empty"><p>{text.choose}</p></main>;
}

function SignIn({ app }: { app: App }) {
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [sentTo, setSentTo] = useState("");
  const form = useRef<HTMLFormElement>(null);
  const phone = (): string => String(new FormData(form.current!).get("phone")).trim();
  const sendCode = async () => {
    if (!form.current!.phone.reportValidity()) return;
    const number = phone();
    setBusy(true);
    const wrong = await app.sendCode(number);
    setProblem(wrong);
    setSentTo(wrong ? "" : number);
    setBusy(false);
    if (!wrong) form.current!.code.focus();
  };
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const fields = new FormData(event.target as HTMLFormElement);
    setBusy(true);
    setProblem(await app.signIn(phone(), String(fields.get("code")).trim()));
    setBusy(false);
  };
  return (
    <main class="sign-in">
      <form onSubmit={submit} ref={form}>
        <h1><span class="logo" aria-hidden="true" /> {text.title}</h1>
        <label>{text.phone}<input name="phone" type="tel" autocomplete="tel" required autofocus /></label>
        <label>{text.code}<input name="code" inputMode="numeric" autocomplete="one-time-code" required /></label>
        <button class="primary" disabled={isBusy}>{text.signIn}</button>
        {app.config.sends_codes && <button type="button" disabled={isBusy} onClick={sendCode}>{text.sendCode}</button>}
        {sentTo && <p class="hint" role="status">{text.codeSent(sentTo)}</p>}
        <p class="problem" role="alert">{problem}</p>
        {app.config.is_for_development && <p class="hint">{text.signInHint}</p>}
      </form>
    </main>
  );
}
