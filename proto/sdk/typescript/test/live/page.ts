// The chat page in Chromium: two users in two pages and a second device of one of them chat one-to-one, in a group and in a room, while
// conn is killed, the network is cut, and dies without a word. Every message is in every page once and in order, and what is unread and
// read is the same on both devices.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium, type Browser, type Page } from "playwright-core";
import { contents } from "./contents.js";
import { Desk } from "./desk.js";
import type { Gate } from "./gate.js";
import { misfits } from "./misfits.js";
import { blocked, contacts, inAGroup, inALargeGroup, readInAGroup } from "./people.js";
import { behindAProxy } from "./proxied.js";
import type { Services } from "./services.js";

const LINES_OF_A_LONG_TALK = 300;

export async function onThePage(services: Services, gate: Gate, pictures = ""): Promise<void> {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"] });
  try {
    const problems: string[] = [];
    const address = `http://127.0.0.1:${services.port(8022)}/`;
    const open = async (width: number, height: number, colorScheme: "light" | "dark", phone: string, at = address): Promise<Desk> => {
      const desk = new Desk(await newPage(browser, width, height, colorScheme, problems), at);
      await desk.signIn(phone);
      return desk;
    };
    const ada = await open(1440, 900, "light", "+8613900000011");
    const ben = await open(390, 844, "dark", "+8613900000012");
    const tablet = await open(900, 700, "light", "+8613900000011");
    const all = [ada, ben, tablet];

    await contacts(ada, ben);
    const texts = await oneToOne(ada, ben, tablet);
    const group = await inAGroup(ada, ben, tablet);
    await readInAGroup(services, gate, all, group);
    for (const [name, fault] of faults(services, gate)) await through(name, fault, ada, ben, tablet, group);
    await inALargeGroup(ada, ben, tablet);
    await inARoom(ada, ben);
    await recalled(ada, ben, texts);
    await readsAgree(ada, ben, tablet);
    await conversationsAgree(ada, tablet);
    await contents(services, gate, ada, ben, group);
    await blocked(ada, ben);
    if (pictures) await portraits(all, group, pictures);
    for (const desk of all) assert.deepEqual(await desk.obstacles(), [], "what hinders people who cannot see or use a mouse");
    await byKeyboard(ben);
    await longTalk(ada, ben);
    await leftWhileScrolling(ben, ada);
    await beyondTheStore(gate, ben, [`user/${ada.userId}`, group]);
    await twoTabs(ben, ada);
    await misfits(services, gate, (phone) => open(390, 844, "light", phone));
    await behindAProxy(services, (at, phone) => open(900, 700, "light", phone, at));
    assert.deepEqual(problems, []);
    console.log("live: the chat page shows every message once and in order, on a desktop, a phone and a second device");
  } finally {
    await browser.close();
  }
}

async function newPage(browser: Browser, width: number, height: number, colorScheme: "light" | "dark", problems: string[]): Promise<Page> {
  const page = await (await browser.newContext({ viewport: { width, height }, colorScheme, locale: "en" })).newPage();
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (entry) => { if (entry.type() === "error" && !/WebSocket|Failed to load/.test(entry.text())) problems.push(entry.text()); });
  return page;
}

async function oneToOne(ada: Desk, ben: Desk, tablet: Desk): Promise<string[]> {
  await ada.goTo(`user/${ben.userId}`);
  const texts = ["Hello Ben, are you there?", "<b>not bold</b> & <script>alert(1)</script>", "مرحبا، كيف حالك؟", "👩‍👩‍👧 👋🏽", "x".repeat(300)];
  for (const text of texts) await ada.write(text);
  await ada.sees(texts);
  await ben.goTo("");
  await ben.hasUnread(`user/${ada.userId}`, texts.length);
  await ben.page.locator(".entry").first().click();
  await ben.sees(texts);
  await ben.write("Yes, here I am.");
  texts.push("Yes, here I am.");
  await tablet.goTo(`user/${ben.userId}`);
  for (const desk of [ada, ben, tablet]) await desk.sees(texts);
  assert.ok((await ben.page.evaluate(() => document.documentElement.scrollWidth)) <= 390, "nothing is wider than the phone");
  return texts;
}

function faults(services: Services, gate: Gate): [string, () => Promise<void>][] {
  return [
    ["conn is killed", async () => { await services.kill("conn"); await sleep(300); services.start("conn"); await services.listens(8003); }],
    ["the network is cut", async () => { gate.isShut = true; gate.cut(); await sleep(1000); gate.isShut = false; }],
    ["all is killed", async () => {
      for (const name of ["conn", "logic", "business"]) await services.kill(name);
      await services.startAll();
    }],
    // Nobody learns of it but by an answer that does not come.
    ["the network is half open", async () => { gate.isMute = true; await sleep(2000); gate.isMute = false; }],
  ];
}

// Both write while something goes wrong. Afterwards all have the same, in the same order, and each writer's own order is kept.
async function through(name: string, fault: () => Promise<void>, ada: Desk, ben: Desk, tablet: Desk, group: string): Promise<void> {
  for (const place of [{ ada: group, ben: group }, { ada: `user/${ben.userId}`, ben: `user/${ada.userId}` }]) {
    await ada.goTo(place.ada);
    await tablet.goTo(place.ada);
    await ben.goTo(place.ben);
    const before = await tablet.texts();
    const said = { ada: [] as string[], ben: [] as string[] };
    const talk = async () => {
      for (let index = 0; index < 6; index++) {
        for (const [desk, who] of [[ada, "ada"], [ben, "ben"]] as const) {
          said[who].push(`${who} ${index}, while ${name} <i>&amp;</i>`);
          await desk.write(said[who].at(-1)!);
        }
        await sleep(40);
      }
    };
    await Promise.all([talk(), place.ada === group ? fault() : undefined]);
    for (const desk of [ada, ben, tablet]) await desk.hasLines(before.length + said.ada.length + said.ben.length);
    const inTheEnd = await tablet.texts();
    for (const who of ["ada", "ben"] as const) assert.deepEqual(inTheEnd.filter((text) => text.startsWith(`${who} `) && text.includes(name)), said[who], `${who}, while ${name}`);
    for (const desk of [ada, ben]) await desk.sees(inTheEnd);
    await ada.page.reload();
    await ada.sees(inTheEnd);
  }
  console.log(`live: on the page: ${name}: every message once and in order`);
}

async function inARoom(ada: Desk, ben: Desk): Promise<void> {
  for (const desk of [ada, ben]) await desk.goTo("room/77");
  await sleep(500);
  await ada.write("Hello, room.");
  await ben.sees(["Hello, room."]);
  await ben.write("Hello, Ada.");
  for (const desk of [ada, ben]) await desk.sees(["Hello, room.", "Hello, Ada."]);
  for (const desk of [ada, ben]) await desk.page.locator(".title", { hasText: "2 here now" }).waitFor();
}

async function recalled(ada: Desk, ben: Desk, texts: string[]): Promise<void> {
  for (const [desk, peer] of [[ada, ben], [ben, ada]] as const) await desk.goTo(`user/${peer.userId}`);
  await ada.write("A slip of the pen");
  await ben.hears("A slip of the pen");
  const row = ada.page.locator(".row", { hasText: "A slip of the pen" });
  await row.hover();
  await row.getByRole("button", { name: "More" }).click();
  await row.getByRole("button", { name: "Take back" }).click();
  for (const desk of [ada, ben]) await desk.page.locator(".center", { hasText: "This message was taken back." }).waitFor();
  assert.ok(texts.length > 0 && !(await ben.texts()).includes("A slip of the pen"));
}

// What is unread is the same on both devices, also after they begin anew; what one of them reads, the other one and the peer learn.
async function readsAgree(ada: Desk, ben: Desk, tablet: Desk): Promise<void> {
  const conversation = `user/${ben.userId}`;
  for (const desk of [ada, tablet]) await desk.goTo("");
  await ben.goTo(`user/${ada.userId}`);
  for (const text of ["One", "two", "three."]) await ben.write(text);
  for (const desk of [ada, tablet]) await desk.hasUnread(conversation, 3);
  await tablet.page.reload();
  await tablet.hasUnread(conversation, 3);
  await ben.page.locator(".row", { hasText: "three." }).getByRole("img", { name: "sent" }).waitFor();
  await ada.goTo(conversation);
  await ada.page.locator(".unread-line").waitFor();
  await ben.page.locator(".row", { hasText: "three." }).getByRole("img", { name: "read" }).waitFor();
  const mark = tablet.page.locator(`.entry[data-key="${conversation}"] .unread`);
  await mark.waitFor({ state: "detached" });
  await tablet.page.reload();
  await tablet.page.locator(".entry").first().waitFor();
  assert.equal(await mark.count(), 0, "it stays read");
  await ben.page.reload();
  await ben.page.locator(".row", { hasText: "three." }).getByRole("img", { name: "read" }).waitFor();
}

// What one device pins and mutes, the other one shows, also after it begins anew.
async function conversationsAgree(ada: Desk, tablet: Desk): Promise<void> {
  await tablet.goTo("");
  await ada.page.locator(".entry", { hasText: "Lunch" }).click();
  await ada.goTo(`${new URL(ada.page.url()).hash.slice(1)}/info`);
  await ada.page.getByRole("button", { name: "Pin", exact: true }).click();
  await ada.page.getByRole("button", { name: "Mute", exact: true }).click();
  for (const label of ["pinned", "muted"]) await tablet.page.locator(".entry").first().getByLabel(label).waitFor();
  await tablet.page.reload();
  for (const label of ["pinned", "muted"]) await tablet.page.locator(".entry", { hasText: "Lunch" }).getByLabel(label).waitFor();
}

// Emoji by arrow keys, a message by Enter, and no trap for the focus.
async function byKeyboard(ben: Desk): Promise<void> {
  await ben.goTo("room/78");
  await ben.page.locator("textarea").focus();
  await ben.page.keyboard.press("Shift+Tab");
  await ben.page.keyboard.press("Enter");
  await ben.page.keyboard.press("ArrowRight");
  await ben.page.keyboard.press("Enter");
  await ben.page.keyboard.type(" it works");
  await ben.page.keyboard.press("Enter");
  await ben.sees(["😄 it works"]);
}

// Scrolls through all of it, from this browser's store: nothing is missing, doubled or out of order.
async function longTalk(ada: Desk, ben: Desk): Promise<void> {
  await ben.goTo(`user/${ada.userId}`);
  await ada.goTo(`user/${ben.userId}`);
  const before = await ada.texts();
  const said = Array.from({ length: LINES_OF_A_LONG_TALK }, (_, index) => `line ${index}`);
  for (let from = 0; from < said.length; from += 50) {
    for (const text of said.slice(from, from + 50)) await ada.write(text);
    await ben.hears(said[from + 49]!);
  }
  await ben.page.reload();
  await ben.hears(said.at(-1)!);
  assert.ok((await ben.page.locator(".bubble").count()) < 200, "only what is in view is in the page");
  await ben.sees([...before, ...said]);
}

// The browser tells of a scroll in its next frame, when the list may be gone from the page: nothing fails then.
async function leftWhileScrolling(desk: Desk, other: Desk): Promise<void> {
  for (let round = 0; round < 5; round++) {
    await desk.goTo(`user/${other.userId}`);
    await desk.page.evaluate(() => {
      document.querySelector(".lines")!.scrollTop -= 200;
      location.hash = "#contacts";
    });
    await desk.page.locator(".lines-frame").waitFor({ state: "detached" });
  }
}

// A browser that has lost its older messages, or all of a conversation, gets them from the server.
async function beyondTheStore(gate: Gate, desk: Desk, conversations: string[]): Promise<void> {
  for (const conversation of conversations) {
    await desk.goTo(conversation);
    const all = await desk.texts();
    for (const keep of [3, 0]) {
      await desk.loses(conversation.replace("/", " "), keep);
      // What could not be had comes once there is a connection: three lines are nothing to scroll, and nobody else would ask.
      const isCut = keep > 0 && conversation === conversations[0];
      if (isCut) {
        gate.isShut = true;
        gate.cut();
      }
      await desk.page.reload();
      if (isCut) {
        await desk.page.locator('[data-row="earlier"]').waitFor({ timeout: 90_000 });
        gate.isShut = false;
      }
      await desk.sees(all);
    }
  }
}

// Two tabs of one browser are one device: both show what comes, whichever has the connection, and both are signed out together.
async function twoTabs(ben: Desk, ada: Desk): Promise<void> {
  const tab = new Desk(await ben.page.context().newPage(), ben.address);
  await tab.goTo(`user/${ada.userId}`);
  await ben.goTo(`user/${ada.userId}`);
  await tab.write("From the second tab");
  for (const desk of [ben, tab, ada]) await desk.hears("From the second tab");
  await ben.page.close();
  await ada.write("Are you still there?");
  await tab.hears("Are you still there?");
  await tab.write("Yes.");
  await ada.hears("Yes.");
  const other = new Desk(await tab.page.context().newPage(), ben.address);
  await other.goTo("own");
  await other.page.getByRole("button", { name: "Sign out" }).click();
  for (const desk of [other, tab]) await desk.page.locator("input[name=phone]").waitFor();
}

async function portraits([ada, ben]: Desk[], group: string, folder: string): Promise<void> {
  for (const desk of [ada!, ben!]) await desk.goTo(group);
  await sleep(500);
  await ada!.page.screenshot({ path: `${folder}/desktop.png` });
  await ben!.page.screenshot({ path: `${folder}/phone.png` });
}
