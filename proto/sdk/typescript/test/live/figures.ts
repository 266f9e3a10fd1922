// How fast the chat page is on this host: from a key press on one page to the line on the other one, what is transferred and how long it
// takes until the page can be used, and the longest frame while a long conversation is scrolled. It asserts nothing: hosts differ.
//
// Usage: node figures.js PROGRAMS CONFIG PORT_OFFSET

import { Client, MemoryStore } from "../../src/index.js";
import { chromium, type Browser, type CDPSession, type Page } from "playwright-core";
import { WebSocket } from "ws";
import { Desk } from "./desk.js";
import { Services } from "./services.js";
import { until } from "./watched.js";

const TYPED = 300;
const LONG_TALK = 10_000;
// Devices that write the long conversation together.
const WRITERS = 8;
const OPENINGS = 9;
const WHEEL_PX = 900;

const [programs, config, offset] = process.argv.slice(2) as [string, string, string];
const services = new Services(programs, config, Number(offset), () => `ws://127.0.0.1:${8003 + Number(offset)}/ws`);
const address = `http://127.0.0.1:${services.port(8022)}/`;

const say = (what: string, figures: string) => console.log(`figures: ${what}: ${figures}`);
const at = (sorted: number[], share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
const ascending = (numbers: number[]) => [...numbers].sort((one, other) => one - other);

async function newPage(browser: Browser): Promise<Page> {
  return (await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: "en" })).newPage();
}

// Both pages are of one host, so their clocks are the same.
async function typing(ada: Desk, ben: Desk): Promise<void> {
  await ada.goTo(`user/${ben.userId}`);
  await ben.goTo(`user/${ada.userId}`);
  await ada.page.evaluate(() => {
    addEventListener("keydown", ({ key, timeStamp }) => { if (key === "Enter") (globalThis as any).pressedAt = performance.timeOrigin + timeStamp; }, true);
  });
  await ben.page.evaluate(() => {
    const shown: { [text: string]: number } = ((globalThis as any).shown = {});
    const look = () => {
      const text = [...document.querySelectorAll(".bubble > p")].at(-1)?.textContent ?? "";
      // When it is on the screen.
      if (!(text in shown)) requestAnimationFrame(() => { shown[text] ??= performance.timeOrigin + performance.now(); });
    };
    new MutationObserver(look).observe(document.querySelector(".talk")!, { childList: true, subtree: true, characterData: true });
  });
  const tookMs: number[] = [];
  for (let index = 0; index < TYPED; index++) {
    const text = `typed ${index}`;
    await ada.write(text);
    const pressedAt = await ada.page.evaluate(() => (globalThis as any).pressedAt as number);
    const shownAt = await ben.page.waitForFunction((wanted) => (globalThis as any).shown[wanted], text, { polling: 5 });
    tookMs.push(((await shownAt.jsonValue()) as number) - pressedAt);
  }
  const sorted = ascending(tookMs);
  say(`from Enter to the line on the other page, ${TYPED} messages`, `p50 ${at(sorted, 0.5).toFixed(1)} ms, p99 ${at(sorted, 0.99).toFixed(1)} ms, longest ${sorted.at(-1)!.toFixed(1)} ms`);
}

// Of a browser that has nothing yet.
async function opening(browser: Browser): Promise<void> {
  const tookMs: number[] = [];
  let bytes = 0;
  for (let index = 0; index < OPENINGS; index++) {
    const page = await newPage(browser);
    const session = await page.context().newCDPSession(page);
    await session.send("Network.enable");
    bytes = 0;
    session.on("Network.loadingFinished", ({ encodedDataLength }) => { bytes += encodedDataLength; });
    await page.goto(address);
    tookMs.push(await page.evaluate(async () => {
      while (!document.querySelector("input[name=phone]")) await new Promise(requestAnimationFrame);
      return performance.now();
    }));
    await page.waitForLoadState("networkidle");
    await page.context().close();
  }
  say(`the page, opened ${OPENINGS} times`, `${(bytes / 1024).toFixed(1)} KiB transferred, one can type after ${at(ascending(tookMs), 0.5).toFixed(0)} ms (median)`);
}

// Written by several devices, because each has one message at a time on its way.
async function writeLongTalk(phone: string, reader: string): Promise<void> {
  const who = await Promise.all(Array.from({ length: WRITERS }, () => services.signIn(phone)));
  let sent = 0;
  const clients = who.map((one) => {
    const url = `ws://127.0.0.1:${services.port(8003)}/ws`;
    const client = new Client({ ...one, url, store: new MemoryStore(), WebSocket: WebSocket as never, getToken: () => one.token });
    client.on("sent", () => { sent += 1; });
    client.start();
    return client;
  });
  const each = LONG_TALK / WRITERS;
  for (let from = 0; from < each; from += 500) {
    const to = Math.min(each, from + 500);
    for (let index = from; index < to; index++) for (const client of clients) client.send({ kind: "user", id: reader }, `line ${index} ${"of a long conversation ".repeat(index % 7)}`);
    await until("a part of the long conversation is written", () => sent === to * WRITERS);
  }
  await Promise.all(clients.map((client) => client.stop()));
}

async function scrolling(browser: Browser): Promise<void> {
  const cy = new Desk(await newPage(browser), address);
  await cy.signIn("+8613900000023");
  const writer = await services.signIn("+8613900000024");
  await writeLongTalk("+8613900000024", cy.userId);
  await cy.goTo(`user/${writer.userId}`);
  await cy.page.locator(".bubble > p").first().waitFor();
  const session = await cy.page.context().newCDPSession(cy.page);
  for (const [name, wheelPx, end] of [["up, while all of it is loaded", -WHEEL_PX, "top"], ["down again", WHEEL_PX, "bottom"]] as const) {
    const longest = await traced(session, () => scroll(cy.page, wheelPx, end));
    const lines = cy.page.locator(".bubble > p");
    const reached = (await (end === "top" ? lines.first() : lines.last()).textContent())!;
    say(`${LONG_TALK} messages, scrolled ${name}, to "${reached.slice(0, 9).trim()}"`, longest);
  }
}

// To an end, by the mouse wheel, and until nothing more comes there.
async function scroll(page: Page, wheelPx: number, end: "top" | "bottom"): Promise<void> {
  await page.mouse.move(900, 400);
  for (let calm = 0; calm < 20; ) {
    for (let index = 0; index < 10; index++) await page.mouse.wheel(0, wheelPx);
    const isAtEnd = await page.evaluate((wanted) => {
      const list = document.querySelector(".lines")!;
      return wanted === "top" ? list.scrollTop === 0 && !list.querySelector('[data-row="earlier"]') : list.scrollHeight - list.scrollTop - list.clientHeight < 2;
    }, end);
    calm = isAtEnd ? calm + 1 : 0;
  }
}

// The longest tasks of the page's own thread meanwhile, by Chromium's trace: no frame can come while one runs.
async function traced(session: CDPSession, step: () => Promise<void>): Promise<string> {
  const events: { name: string; ph: string; pid: number; tid: number; dur?: number; args: { name?: string } }[] = [];
  const collect = ({ value }: { value: unknown[] }) => { events.push(...(value as typeof events)); };
  session.on("Tracing.dataCollected", collect);
  await session.send("Tracing.start", { transferMode: "ReportEvents", traceConfig: { includedCategories: ["toplevel", "disabled-by-default-devtools.timeline", "devtools.timeline", "__metadata"] } } as never);
  await step();
  const isDone = new Promise<void>((resolve) => session.once("Tracing.tracingComplete", () => resolve()));
  await session.send("Tracing.end");
  await isDone;
  session.off("Tracing.dataCollected", collect);
  const mains = new Set(events.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain").map(({ pid, tid }) => `${pid} ${tid}`));
  const tasks = events.filter(({ name, pid, tid, dur }) => name === "RunTask" && dur !== undefined && mains.has(`${pid} ${tid}`));
  const sorted = ascending(tasks.map(({ dur }) => dur! / 1000));
  const over = sorted.filter((ms) => ms > 50).length;
  return `longest frame ${(sorted.at(-1) ?? 0).toFixed(1)} ms, p99 of those over 1 ms ${at(sorted.filter((ms) => ms > 1), 0.99)?.toFixed(1)} ms, ${over} over 50 ms`;
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  await services.startAll();
  const [ada, ben] = [new Desk(await newPage(browser), address), new Desk(await newPage(browser), address)];
  await ada.signIn("+8613900000021");
  await ben.signIn("+8613900000022");
  await opening(browser);
  await typing(ada, ben);
  await scrolling(browser);
} catch (error) {
  console.error("figures:", error);
  process.exitCode = 1;
} finally {
  await browser.close();
  await services.killAll();
}
process.exit();
