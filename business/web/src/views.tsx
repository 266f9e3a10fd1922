import { useEffect, useLayoutEffect, useReducer, useRef, useState } from "preact/hooks";
import { keyOf, type Conversation, type Line, type Model, type Target } from "./model";
import { text, timeOf, when } from "./text";

export function Page({ model }: { model: Model }) {
  const [, changed] = useReducer<number, void>((count) => count + 1, 0);
  useEffect(() => model.subscribe(() => changed()), [model]);
  useEffect(() => { document.title = titleOf(model); });
  if (!model.account) return <SignIn model={model} />;
  return (
    <div class={model.open ? "page is-open" : "page"}>
      <Conversations model={model} />
      {model.open ? <Talk model={model} target={model.open} key={keyOf(model.open)} /> : <main class="talk empty"><p>{text.choose}</p></main>}
    </div>
  );
}

function titleOf(model: Model): string {
  const unread = model.conversations.reduce((sum, conversation) => sum + conversation.unread, 0);
  return unread > 0 ? `(${unread}) ${text.title}` : text.title;
}

function nameOf(model: Model, target: Target): string {
  return (target.kind === "user" && model.names.get(target.id)) || `${target.kind === "user" ? text.user : text.group} ${target.id}`;
}

function SignIn({ model }: { model: Model }) {
  const [problem, setProblem] = useState("");
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const fields = new FormData(event.target as HTMLFormElement);
    setProblem(await model.signIn(String(fields.get("phone")).trim(), String(fields.get("code")).trim()));
  };
  return (
    <main class="sign-in">
      <form onSubmit={submit}>
        <h1>{text.title}</h1>
        <label>{text.phone}<input name="phone" type="tel" autocomplete="tel" required autofocus /></label>
        <label>{text.code}<input name="code" inputMode="numeric" autocomplete="one-time-code" required /></label>
        <button class="primary">{text.signIn}</button>
        <p class="problem" role="alert">{problem}</p>
        <p class="hint">{text.signInHint}</p>
      </form>
    </main>
  );
}

function Conversations({ model }: { model: Model }) {
  return (
    <nav class="conversations" aria-label={text.conversations}>
      <header>
        <h1>{text.conversations}</h1>
        <button class="quiet" onClick={() => void model.signOut()}>{text.signOut}</button>
      </header>
      <StartForm model={model} />
      {model.conversations.length === 0 && <p class="hint">{text.noConversations}</p>}
      <ul>{model.conversations.map((conversation) => <Entry key={keyOf(conversation.target)} model={model} conversation={conversation} />)}</ul>
      <p class="own">{text.you}: {model.account!.user_id}</p>
    </nav>
  );
}

function StartForm({ model }: { model: Model }) {
  const [problem, setProblem] = useState("");
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const target = await model.find(String(new FormData(form).get("key")).trim());
    setProblem(target ? "" : text.notFound);
    if (!target) return;
    form.reset();
    location.hash = keyOf(target);
  };
  return (
    <form class="start" onSubmit={submit}>
      <input name="key" aria-label={text.start} placeholder={text.startHint} autocomplete="off" required />
      <button aria-label={text.start} title={text.start}>+</button>
      <p class="problem" role="alert">{problem}</p>
    </form>
  );
}

function Entry({ model, conversation }: { model: Model; conversation: Conversation }) {
  const { target, newest, unread } = conversation;
  const isOpen = model.open !== null && keyOf(model.open) === keyOf(target);
  const name = nameOf(model, target);
  const last = newest?.status === "recalled" ? text.recalled : newest ? new TextDecoder().decode(newest.content) : "";
  return (
    <li>
      <a href={`#${keyOf(target)}`} aria-current={isOpen ? "page" : undefined}>
        <Face name={name} id={target.id} />
        <span class="name" dir="auto">{name}</span>
        <time>{newest ? when(newest.createdAtMs) : ""}</time>
        <span class="last" dir="auto">{newest?.isOwn ? `${text.you}: ${last}` : last}</span>
        {unread > 0 && <span class="unread" aria-label={`${unread} ${text.unreadCount}`}>{unread > 99 ? "99+" : unread}</span>}
      </a>
    </li>
  );
}

function Face({ name, id }: { name: string; id: string }) {
  const letter = /\d$/.test(name) ? id.slice(-2) : [...name][0];
  return <span class={`face face-${Number(id.slice(-1)) % 6}`} aria-hidden="true">{letter}</span>;
}

function Banner({ model }: { model: Model }) {
  const { state } = model;
  if (state.name === "ended") {
    const isElsewhere = state.reason === "replaced" || state.reason === "kicked";
    return <p class="banner" role="status">{isElsewhere ? text.replaced : text.ended} <button onClick={() => model.useHere()}>{isElsewhere ? text.useHere : text.signIn}</button></p>;
  }
  if (state.name === "waiting") return <p class="banner" role="status">{text.offline}</p>;
  if (!model.isStoring) return <p class="banner" role="status">{text.storage}</p>;
  return model.notice ? <p class="banner" role="alert">{model.notice}</p> : null;
}

function Talk({ model, target }: { model: Model; target: Target }) {
  const list = useRef<HTMLDivElement>(null);
  const bottom = useRef({ isAt: true, height: 0, first: "" });
  const first = model.lines[0]?.key ?? "";
  // What is new is scrolled to, unless somebody reads further up; what comes on top moves nothing.
  useLayoutEffect(() => {
    const element = list.current!;
    const { isAt, height, first: before } = bottom.current;
    if (isAt) element.scrollTop = element.scrollHeight;
    else if (before !== first) element.scrollTop += element.scrollHeight - height;
    bottom.current = { isAt, height: element.scrollHeight, first };
  });
  const scrolled = () => {
    const element = list.current!;
    bottom.current.isAt = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
    if (element.scrollTop < 200) void model.loadEarlier();
  };
  const name = nameOf(model, target);
  return (
    <main class="talk">
      <header>
        <a class="back" href="#" aria-label={text.back}>‹</a>
        <h2 dir="auto">{name}</h2>
      </header>
      <Banner model={model} />
      <div class="lines" ref={list} onScroll={scrolled} tabIndex={0} role="log" aria-label={text.messages}>
        {model.hasEarlier && <button class="quiet earlier" onClick={() => void model.loadEarlier()}>{text.earlier}</button>}
        {model.lines.map((line) => [
          line.key === model.unreadFrom && <p class="unread-line" key="unread">{text.unread}</p>,
          <Bubble key={line.key} model={model} line={line} isOfGroup={target.kind === "group"} />,
        ])}
      </div>
      <Composer model={model} onSend={() => { bottom.current.isAt = true; }} />
    </main>
  );
}

function Bubble({ model, line, isOfGroup }: { model: Model; line: Line; isOfGroup: boolean }) {
  const { message } = line;
  if (message?.status === "recalled") return <p class="note">{text.recalled}</p>;
  if (message?.status === "expired") return <p class="note">{text.gone}</p>;
  const sender = isOfGroup && message?.from && !line.isOwn ? nameOf(model, { kind: "user", id: message.from.userId }) : "";
  return (
    <div class={line.isOwn ? "bubble own" : "bubble"}>
      {sender && <span class="sender" dir="auto">{sender}</span>}
      <p dir="auto">{line.text}</p>
      <span class="status">
        {line.isOwn && message && Date.now() - line.createdAtMs < 120_000 && <button class="quiet recall" onClick={() => void model.recall(message)}>{text.recall}</button>}
        <time>{timeOf(line.createdAtMs)}</time>
        {line.state === "sending" && ` · ${text.sending}`}
        {line.state === "sent" && <span aria-label={text.sent} title={text.sent}> ✓</span>}
        {line.state === "failed" && <span class="problem"> · {text.failed}: {line.problem} <button class="quiet" onClick={() => model.sendAgain(line)}>{text.retry}</button></span>}
      </span>
    </div>
  );
}

function Composer({ model, onSend }: { model: Model; onSend: () => void }) {
  const input = useRef<HTMLTextAreaElement>(null);
  useEffect(() => input.current?.focus(), []);
  const send = (event?: Event) => {
    event?.preventDefault();
    const value = input.current!.value.trim();
    if (!value) return;
    input.current!.value = "";
    onSend();
    model.send(value);
  };
  // Not while an input method is at work, whose Enter chooses a word.
  const pressed = (event: KeyboardEvent) => { if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event); };
  return (
    <form class="composer" onSubmit={send}>
      <textarea ref={input} rows={1} dir="auto" maxLength={15000} aria-label={text.write} placeholder={text.write} onKeyDown={pressed} />
      <button class="primary">{text.send}</button>
    </form>
  );
}
