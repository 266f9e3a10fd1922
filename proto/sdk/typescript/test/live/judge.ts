// What apps saw, held against what was said: how much is missing, was seen more than once, or came before what was said earlier.

import type { Message } from "../../src/index.js";

export interface Verdict {
  seen: number;
  lost: number;
  doubled: number;
  reordered: number;
}

export function emptyVerdict(): Verdict {
  return { seen: 0, lost: 0, doubled: 0, reordered: 0 };
}

// What one app saw of what one speaker said in one place, by the numbers that the speaker gave: all of `said` is to come, in this order.
// What is not in `said` may come or not.
export function judge(found: number[], said: number[], verdict: Verdict): void {
  const seen = new Set<number>();
  let highest = -1;
  for (const number of found) {
    if (seen.has(number)) verdict.doubled += 1;
    else if (number < highest) verdict.reordered += 1;
    seen.add(number);
    highest = Math.max(highest, number);
  }
  verdict.seen += found.length;
  verdict.lost += said.filter((number) => !seen.has(number)).length;
}

// The server's own numbers as one app saw them: each is the one before and 1 more, but in rooms, where some may be missing.
export function judgeNumbers(numbers: number[], isRoom: boolean, verdict: Verdict): void {
  verdict.seen += numbers.length;
  for (const [index, number] of numbers.entries()) {
    const before = numbers[index - 1];
    if (before === undefined) continue;
    if (number === before) verdict.doubled += 1;
    else if (number < before) verdict.reordered += 1;
    else if (!isRoom && number > before + 1) verdict.lost += number - before - 1;
  }
}

// The numbers that the server gave, in the order in which an app saw them.
export function numbersOf(messages: Message[], of: "seq" | "groupSeq" | "roomSeq"): number[] {
  return messages.map((message) => message[of]).filter((number) => number > 0);
}
