// Two tabs of Chromium with one store, against real services: they share a connection, one takes over from the other, and what was
// stored is there when a page is opened again.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { build } from "esbuild";
import { chromium, type Page } from "playwright-core";
import type { Client } from "../../src/index.js";
import type { Services } from "./services.js";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

type Who = { userId: string; deviceId: string; token: string };

// What runs in the page.
const PAGE = `
import { Client, IndexedDbStore, textOf } from "./src/index.ts";
window.begin = ({ who, locate }) => {
  const store = new IndexedDbStore("of " + who.deviceId);
  const client = new Client({ ...who, locate, store, startAt: "first", getToken: () => who.token, heartbeatMs: 1000, answerTimeoutMs: 1500 });
  window.seen = [];
  window.sent = [];
  client.on("message", (message) => { window.seen.push([message.seq, textOf(message)]); });
  client.on("sent", ({ clientMsgId }) => { window.sent.push(clientMsgId); });
  window.stored = (id) => store.messages({ kind: "user", id }, Infinity, 1000).then((messages) => messages.map(textOf));
  window.client = client;
  client.start();
};
window.onunhandledrejection = ({ reason }) => { document.title = "unhandled: " + reason; };
`;

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (const from = Date.now(); !(await condition()); await sleep(50)) {
    if (Date.now() - from > 30_000) throw new Error(`it takes too long until ${what}`);
  }
}

export async function inBrowser(services: Services, who: Who, peer: Client): Promise<void> {
  const { outputFiles } = await build({ stdin: { contents: PAGE, resolveDir: ROOT }, bundle: true, format: "esm", platform: "browser", write: false });
  const server = createServer((request, response) => {
    const isScript = request.url === "/page.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? outputFiles[0]!.text : '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>');
  });
  server.listen(services.port(8031), "127.0.0.1");
  await once(server, "listening");
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  try {
    const context = await browser.newContext();
    const open = async (): Promise<Page> => {
      const page = await context.newPage();
      await page.goto(services.pageOrigin);
      await begin(page);
      return page;
    };
    const begin = (page: Page) => page.evaluate(([one, locate]) => (globalThis as any).begin({ who: one, locate }), [who, `http://127.0.0.1:${services.port(8012)}/locate`] as const);
    const seen = (page: Page): Promise<[number, string][]> => page.evaluate(() => (globalThis as any).seen);
    const texts = async (page: Page) => (await seen(page)).map(([, text]) => text);
    const [one, other] = [await open(), await open()];
    await until("both tabs are live", async () => (await Promise.all([one, other].map((page) => page.evaluate(() => (globalThis as any).client.state.name)))).every((name) => name === "live"));

    const expected: string[] = [];
    const say = async (count: number) => {
      for (let index = 0; index < count; index++) {
        expected.push(`message ${expected.length}`);
        peer.send({ kind: "user", id: who.userId }, expected.at(-1)!);
      }
    };
    await say(20);
    await until("both tabs see everything", async () => (await texts(one)).length === 20 && (await texts(other)).length === 20);
    await other.evaluate((id) => (globalThis as any).client.send({ kind: "user", id }, "from the other tab"), peer.userId);
    expected.push("from the other tab");
    await until("what the other tab sent is seen", async () => (await texts(one)).length === expected.length);

    await context.setOffline(true);
    await services.kill("conn");
    await say(10);
    services.start("conn");
    await services.listens(8003);
    await context.setOffline(false);
    await until("what was missed is seen", async () => (await texts(other)).length === expected.length);
    assert.deepEqual(await texts(one), expected);
    assert.deepEqual(await texts(other), expected);

    await one.close();
    await say(10);
    await until("the other tab has taken over", async () => (await texts(other)).length === expected.length);
    assert.deepEqual((await seen(other)).map(([seq]) => seq), expected.map((_, index) => index + 1));
    await other.reload();
    await begin(other);
    await say(1);
    await until("the page that was opened again sees what is new", async () => (await texts(other)).length > 0);
    assert.deepEqual(await texts(other), expected.slice(-1), "only that");
    assert.deepEqual(await other.evaluate((id) => (globalThis as any).stored(id), peer.userId), expected, "the store has all of it");
    assert.equal(await other.title(), "", "rejections that nobody handles");
    console.log("live: two tabs of Chromium share a connection and a store");
  } finally {
    await browser.close();
    server.close();
  }
}
