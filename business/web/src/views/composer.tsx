// Where a message is written: words, whom they mean, what they answer, and what else may be sent.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Chat } from "../model/chat";
import { textWith, type Named } from "../model/drafts";
import type { Talk } from "../model/talk";
import { text } from "../text";
import { Attach } from "./attach";
import { EmojiPicker } from "./emoji";
import { MentionPicker, startedMention, useMentions } from "./mentions";
import { Icon } from "./parts";

// At most 57 KiB in UTF-8, whatever is written, so that there is room for what comes beside it.
const CHARS_MAX = 19_000;

type Panel = "" | "emoji" | "attach";

export function Composer({ chat, talk, onSend }: { chat: Chat; talk: Talk; onSend: () => void }) {
  const { target } = talk;
  const input = useRef<HTMLTextAreaElement>(null);
  const tools = useRef<HTMLSpanElement>(null);
  const [panel, setPanel] = useState<Panel>("");
  const mentions = useMentions(chat, talk);
  const { answered, words } = chat.drafts.of(target);
  // On a phone the keyboard would cover what one came to read.
  useEffect(() => { if (matchMedia("(hover: hover)").matches) input.current?.focus(); }, []);
  // Who wants to answer wants to write.
  useEffect(() => { if (answered) input.current?.focus(); }, [answered?.messageId]);

  const keep = (named?: Named) => {
    const { value } = input.current!;
    chat.drafts.keep(target, { words: value, ...(named && { named: [...chat.drafts.of(target).named, named] }) });
  };
  const written = () => {
    keep();
    mentions.look(startedMention(input.current!));
  };
  const send = (event?: Event) => {
    event?.preventDefault();
    const value = input.current!.value.trim();
    if (!value) return;
    const said = textWith(value, chat.drafts.of(target).named);
    input.current!.value = "";
    chat.drafts.clear(target);
    mentions.look(null);
    onSend();
    if (answered) chat.outgoing.send(target, "reply", { messageId: BigInt(answered.messageId), senderId: BigInt(answered.senderId), quote: answered.quote, text: said });
    else chat.outgoing.send(target, "text", said);
    input.current!.focus();
  };
  const mean = (named: Named) => {
    const area = input.current!;
    const started = startedMention(area);
    if (!started) return mentions.look(null);
    area.setRangeText(`${named.label} `, started.from, area.selectionStart, "end");
    keep(named);
    mentions.look(null);
    area.focus();
  };
  // Not while an input method is at work, whose Enter chooses a word.
  const pressed = (event: KeyboardEvent) => {
    if (event.isComposing) return;
    // The cursor may have left the name meanwhile.
    if (mentions.found.length > 0 && !startedMention(input.current!)) mentions.look(null);
    else if (mentions.pressed(event, mean)) return;
    if (event.key === "Enter" && !event.shiftKey) send(event);
    if (event.key === "Escape" && answered) endAnswer();
  };
  const endAnswer = () => { chat.drafts.keep(target, { answered: null }); chat.changed(); };
  const put = (chosen: string) => {
    const area = input.current!;
    area.setRangeText(chosen, area.selectionStart, area.selectionEnd, "end");
    keep();
    setPanel("");
    area.focus();
  };
  const stick = (emoji: string) => {
    setPanel("");
    onSend();
    chat.outgoing.send(target, "sticker", { emoji });
    input.current!.focus();
  };
  const pasted = (event: ClipboardEvent) => {
    const files = chat.files.areOn ? [...(event.clipboardData?.files ?? [])] : [];
    if (files.length === 0) return;
    event.preventDefault();
    chat.uploads.begin(target, files);
  };
  const close = () => { setPanel(""); tools.current?.querySelector<HTMLElement>('[aria-expanded="true"]')?.focus(); };
  const tool = (name: "emoji" | "attach", label: string) => (
    <button type="button" class="tool" aria-label={label} title={label} aria-expanded={panel === name} onClick={() => setPanel(panel === name ? "" : name)}><Icon name={name} /></button>
  );
  return (
    <div class="composer-frame">
      {panel === "emoji" && <EmojiPicker onChoose={put} onStick={stick} onClose={close} />}
      {panel === "attach" && <Attach chat={chat} target={target} onDone={() => { setPanel(""); onSend(); }} onClose={close} />}
      {mentions.found.length > 0 && <MentionPicker mentions={mentions} onChoose={mean} />}
      {chat.uploads.of(target).map((upload) => (
        <div class="uploading" key={upload}>
          <span dir="auto">{upload.name}</span>
          {upload.problem ? <span class="problem" role="alert">{text.failed}: {upload.problem} <button class="quiet" onClick={upload.again}>{text.goOn}</button></span> : <progress value={upload.part} max={1} aria-label={upload.name} />}
          <button class="tool" aria-label={text.cancel} title={text.cancel} onClick={upload.stop}><Icon name="close" /></button>
        </div>
      ))}
      {answered && (
        <div class="answering">
          <span class="quote"><strong dir="auto">{answered.senderId === "0" ? text.reply : chat.people.nameOf({ kind: "user", id: answered.senderId })}</strong><span dir="auto">{answered.quote}</span></span>
          <button class="tool" aria-label={text.noReply} title={text.noReply} onClick={endAnswer}><Icon name="close" /></button>
        </div>
      )}
      <form class="composer" onSubmit={send}>
        <span class="tools" ref={tools}>{tool("attach", text.attach)}{tool("emoji", text.emoji)}</span>
        <textarea ref={input} rows={1} dir="auto" maxLength={CHARS_MAX} aria-label={text.write} placeholder={text.write} defaultValue={words} onInput={written} onKeyDown={pressed} onPaste={pasted} onClick={() => mentions.look(startedMention(input.current!))}
          aria-controls={mentions.found.length > 0 ? "mentions" : undefined} aria-activedescendant={mentions.found.length > 0 ? `mention-${mentions.at}` : undefined} />
        <button class="primary send" aria-label={text.send} title={text.send}><Icon name="send" /></button>
      </form>
    </div>
  );
}
