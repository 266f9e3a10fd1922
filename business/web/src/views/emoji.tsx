// Emoji to choose from, by mouse, finger or arrow keys.

import { useLayoutEffect, useRef } from "preact/hooks";
import { text } from "../text";

const EMOJI = [..."😀😄😁😆😅😂🙂😉😊😍😘😜🤔🤗🤫😐😏😬😴😎🥳😢😭😡😱🥺🙈👋👍👎👌🙏👏💪🤝🫶🎉🎂🎁🔥⭐✨💯💡📌✅❌❓⏰☕🍕🍎🍜🌍🌈🌞🌧🚀🏠🐶🐱🌸🌳"].concat("❤️", "✌️", "⚠️", "👩‍💻");
const COLUMNS = 8;
const STEPS: { [key: string]: number } = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: COLUMNS, ArrowUp: -COLUMNS };

export function EmojiPicker({ onChoose, onClose }: { onChoose: (chosen: string) => void; onClose: () => void }) {
  const grid = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    grid.current!.querySelector("button")!.focus();
    const pressed = (event: PointerEvent) => { if (!grid.current!.parentElement!.contains(event.target as Node)) onClose(); };
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
    <div class="emoji" ref={grid} role="group" aria-label={text.chooseEmoji} onKeyDown={moved}>
      {EMOJI.map((emoji, index) => <button type="button" key={emoji} tabIndex={index === 0 ? 0 : -1} onClick={() => onChoose(emoji)}>{emoji}</button>)}
    </div>
  );
}
