// Emoji to choose from, by mouse, finger or arrow keys: for the text, or as a sticker that is a message of its own.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { text } from "../text";

const EMOJI = [..."😀😄😁😆😅😂🙂😉😊😍😘😜🤔🤗🤫😐😏😬😴😎🥳😢😭😡😱🥺🙈👋👍👎👌🙏👏💪🤝🫶🎉🎂🎁🔥⭐✨💯💡📌✅❌❓⏰☕🍕🍎🍜🌍🌈🌞🌧🚀🏠🐶🐱🌸🌳"].concat("❤️", "✌️", "⚠️", "👩‍💻");
const COLUMNS = 8;
const STEPS: { [key: string]: number } = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: COLUMNS, ArrowUp: -COLUMNS };

export function EmojiPicker({ onChoose, onStick, onClose }: { onChoose: (chosen: string) => void; onStick: (chosen: string) => void; onClose: () => void }) {
  const grid = useRef<HTMLDivElement>(null);
  const [isSticker, setSticker] = useState(false);
  useLayoutEffect(() => {
    grid.current!.querySelector("button")!.focus();
    const pressed = (event: PointerEvent) => { if (!grid.current!.closest(".composer-frame")!.contains(event.target as Node)) onClose(); };
    addEventListener("pointerdown", pressed);
    return () => removeEventListener("pointerdown", pressed);
  }, []);
  const moved = (event: KeyboardEvent) => {
    if (event.key === "Escape") return onClose();
    const step = STEPS[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const buttons = [...grid.current!.querySelectorAll("button")];
    buttons[buttons.indexOf(document.activeElement as HTMLButtonElement) + step]?.focus();
  };
  return (
    <div class="emoji-panel">
      <div class="emoji" ref={grid} role="group" aria-label={isSticker ? text.sticker : text.chooseEmoji} onKeyDown={moved}>
        {EMOJI.map((emoji, index) => <button type="button" key={emoji} tabIndex={index === 0 ? 0 : -1} onClick={() => (isSticker ? onStick : onChoose)(emoji)}>{emoji}</button>)}
      </div>
      <p class="kinds">
        <button type="button" aria-pressed={!isSticker} onClick={() => setSticker(false)}>{text.emoji}</button>
        <button type="button" aria-pressed={isSticker} onClick={() => setSticker(true)}>{text.sticker}</button>
      </p>
    </div>
  );
}
