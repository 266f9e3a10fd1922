// Where a message is written.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Target } from "gim-client";
import type { Chat } from "../model/chat";
import { keyOf } from "../model/route";
import { text } from "../text";
import { EmojiPicker } from "./emoji";
import { Icon } from "./parts";

// At most 60 KiB in UTF-8, whatever is written.
const CHARS_MAX = 20_000;

export function Composer({ chat, target, onSend }: { chat: Chat; target: Target; onSend: () => void }) {
  const input = useRef<HTMLTextAreaElement>(null);
  const emoji = useRef<HTMLButtonElement>(null);
  const [isPicking, setPicking] = useState(false);
  // On a phone the keyboard would cover what one came to read.
  useEffect(() => { if (matchMedia("(hover: hover)").matches) input.current?.focus(); }, []);
  const keep = () => {
    if (input.current!.value.trim()) chat.drafts.set(keyOf(target), input.current!.value);
    else chat.drafts.delete(keyOf(target));
  };
  const send = (event?: Event) => {
    event?.preventDefault();
    const value = input.current!.value.trim();
    if (!value) return;
    input.current!.value = "";
    chat.drafts.delete(keyOf(target));
    onSend();
    chat.outgoing.send(target, value);
    input.current!.focus();
  };
  // Not while an input method is at work, whose Enter chooses a word.
  const pressed = (event: KeyboardEvent) => { if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event); };
  const put = (chosen: string) => {
    const area = input.current!;
    area.setRangeText(chosen, area.selectionStart, area.selectionEnd, "end");
    keep();
    setPicking(false);
    area.focus();
  };
  const close = () => { setPicking(false); emoji.current?.focus(); };
  return (
    <form class="composer" onSubmit={send}>
      {isPicking && <EmojiPicker onChoose={put} onClose={close} />}
      <button type="button" class="tool" ref={emoji} aria-label={text.emoji} title={text.emoji} aria-expanded={isPicking} onClick={() => setPicking(!isPicking)}><Icon name="emoji" /></button>
      <textarea ref={input} rows={1} dir="auto" maxLength={CHARS_MAX} aria-label={text.write} placeholder={text.write} defaultValue={chat.drafts.get(keyOf(target)) ?? ""} onInput={keep} onKeyDown={pressed} />
      <button class="primary send" aria-label={text.send} title={text.send}><Icon name="send" /></button>
    </form>
  );
}
