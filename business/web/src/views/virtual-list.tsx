// A list of rows of any height, of which only those in view are in the page. What is in view stays where it is when rows come before it
// or turn out to be higher than was thought; at the end, the list follows what comes.

import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useReducer, useRef } from "preact/hooks";
import { Icon } from "./parts";

const ESTIMATED_PX = 56;
const OVERSCAN_PX = 600;
const NEAR_END_PX = 60;
const NEAR_TOP_PX = 400;
// How far below the top of the view a row is that was asked for.
const REVEALED_BELOW_PX = 80;

// Where a row that `isFixed` stands among the others stays the same, whatever comes before it.
type AnyRow = { key: string; isFixed: boolean };

interface Props<Row extends AnyRow> {
  rows: Row[];
  // The key of the row to begin at; empty for the end.
  startAt: string;
  // When it changes, the list goes to the end.
  stick: number;
  // When its count changes, the list goes to the row of that key.
  reveal: { key: string; count: number };
  label: string;
  toEnd: string;
  render: (row: Row) => ComponentChildren;
  onTop: () => void;
}

interface Place {
  isAtEnd: boolean;
  // The first fixed row in view, and how far its top is above the top of the view.
  key: string;
  above: number;
  // Where that is, for when the row goes away.
  top: number;
  stick: number;
  revealed: number;
}

export function VirtualList<Row extends AnyRow>({ rows, startAt, stick, reveal, label, toEnd, render, onTop }: Props<Row>) {
  const [, again] = useReducer<number, void>((count) => count + 1, 0);
  const list = useRef<HTMLDivElement>(null);
  const heights = useRef(new Map<string, number>()).current;
  const place = useRef<Place>({ isAtEnd: startAt === "", key: startAt, above: 0, top: Infinity, stick, revealed: reveal.count }).current;
  if (place.stick !== stick) Object.assign(place, { isAtEnd: true, stick });
  if (place.revealed !== reveal.count) Object.assign(place, { isAtEnd: false, key: reveal.key, above: -REVEALED_BELOW_PX, revealed: reveal.count });

  const tops = new Float64Array(rows.length + 1);
  for (let index = 0; index < rows.length; index++) tops[index + 1] = tops[index]! + (heights.get(rows[index]!.key) ?? ESTIMATED_PX);
  const total = tops[rows.length]!;
  const viewPx = list.current?.clientHeight ?? 800;
  const top = topOf(rows, tops, place, viewPx);
  const from = Math.max(0, indexAt(tops, top - OVERSCAN_PX));
  const to = Math.min(rows.length, indexAt(tops, top + viewPx + OVERSCAN_PX) + 1);

  // Rows are measured once they are in the page, and the list is put where it was.
  useLayoutEffect(() => {
    const element = list.current!;
    let hasGrown = false;
    for (const child of element.querySelectorAll<HTMLElement>("[data-row]")) {
      const height = child.getBoundingClientRect().height;
      if (heights.get(child.dataset["row"]!) === height) continue;
      heights.set(child.dataset["row"]!, height);
      hasGrown = true;
    }
    if (hasGrown) again();
    const wanted = place.isAtEnd ? element.scrollHeight - element.clientHeight : top;
    if (Math.abs(element.scrollTop - wanted) > 0.5) element.scrollTop = wanted;
    // Where it begins may be so near the end that this is in view.
    if (hasGrown || place.isAtEnd || !isNearEnd(element)) return;
    place.isAtEnd = true;
    again();
  });

  useEffect(() => {
    const element = list.current!;
    let width = element.clientWidth;
    const observer = new ResizeObserver(() => {
      if (element.clientWidth !== width) heights.clear();
      width = element.clientWidth;
      again();
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  const scrolled = () => {
    // The browser tells of a scroll later, and the list may have gone from the page meanwhile.
    const element = list.current;
    if (!element) return;
    place.isAtEnd = isNearEnd(element);
    let index = indexAt(tops, element.scrollTop);
    while (index < rows.length - 1 && !rows[index]!.isFixed) index++;
    Object.assign(place, { key: rows[index]?.key ?? "", above: element.scrollTop - (tops[index] ?? 0), top: element.scrollTop });
    if (element.scrollTop < NEAR_TOP_PX) onTop();
    again();
  };
  const goToEnd = () => { place.isAtEnd = true; again(); };

  return (
    <div class="lines-frame">
      <div class="lines" ref={list} onScroll={scrolled} tabIndex={0} role="region" aria-label={label}>
        <div class="spring" />
        <div style={{ height: `${tops[from]}px`, flex: "none" }} />
        {rows.slice(from, to).map((row) => <div key={row.key} data-row={row.key}>{render(row)}</div>)}
        <div style={{ height: `${total - tops[to]!}px`, flex: "none" }} />
      </div>
      {!place.isAtEnd && <button class="to-end" onClick={goToEnd} aria-label={toEnd} title={toEnd}><Icon name="down" /></button>}
    </div>
  );
}

function isNearEnd(element: HTMLElement): boolean {
  return element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_END_PX;
}

function topOf(rows: { key: string }[], tops: Float64Array, place: Place, viewPx: number): number {
  const end = Math.max(0, tops[rows.length]! - viewPx);
  if (place.isAtEnd) return end;
  const index = rows.findIndex(({ key }) => key === place.key);
  return Math.min(end, index < 0 ? place.top : Math.max(0, tops[index]! + place.above));
}

// The row that is at this height.
function indexAt(tops: Float64Array, height: number): number {
  let [low, high] = [0, tops.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (tops[middle]! <= height) low = middle;
    else high = middle - 1;
  }
  return Math.min(low, Math.max(0, tops.length - 2));
}
