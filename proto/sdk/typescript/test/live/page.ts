// The chat page in Chromium: two users and a second device write to each other, while conn is killed.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium, type Page } from "playwright-core";
import type { Services } from "./services.js";

async function signIn(page: Page, address: string, phone: string): Promise<string> {
  await page.goto(address);
  await page.locator("input[name=phone]").fill(phone);
  await page.locator("input[name=code]").fill("123456");
  await page.locator("button.primary").click();
  const own = await page.locator(".own").first().textContent();
  return own!.match(/\d+/)![0];
}

async function write(page: Page, text: string): Promise<void> {
  await page.locator("textarea").fill(text);
  await page.locator("textarea").press("Enter");
}

async function sees(page: Page, expected: string[]): Promise<void> {
  const lines = page.locator(".bubble > p");
  for (const from = Date.now(); (await lines.count()) < expected.length; await sleep(30)) {
    if (Date.now() - from > 30_000) break;
  }
  assert.deepEqual(await lines.allTextContents(), expected);
}

// What axe-core finds that is serious.
async function obstacles(page: Page): Promise<string[]> {
  // The page lets nothing run but its own script, so this comes by the debugger.
  await page.evaluate(readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"));
  const { violations } = await page.evaluate(() => (globalThis as any).axe.run());
  const serious = violations.filter(({ impact }: { impact: string }) => impact === "serious" || impact === "critical");
  return serious.map(({ id, nodes }: { id: string; nodes: { html: string }[] }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
}

export async function onThePage(services: Services, address = `http://127.0.0.1:${services.port(8022)}/`, pictures = ""): Promise<void> {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  try {
    const problems: string[] = [];
    const open = async (size: { width: number; height: number }, colorScheme: "light" | "dark"): Promise<Page> => {
      const page = await (await browser.newContext({ viewport: size, colorScheme, locale: "en" })).newPage();
      page.on("pageerror", (error) => problems.push(String(error)));
      page.on("console", (entry) => { if (entry.type() === "error" && !/WebSocket|Failed to load/.test(entry.text())) problems.push(entry.text()); });
      return page;
    };
    const ada = await open({ width: 1440, height: 900 }, "light");
    const ben = await open({ width: 390, height: 844 }, "dark");
    const adaId = await signIn(ada, address, "+8613900000011");
    const benId = await signIn(ben, address, "+8613900000012");
    const tablet = await open({ width: 900, height: 700 }, "light");
    await signIn(tablet, address, "+8613900000011");

    await ada.goto(`${address}#user/${benId}`);
    const texts = ["Hello Ben, are you there?", "<b>not bold</b> & <script>alert(1)</script>", "مرحبا، كيف حالك؟", "👩‍👩‍👧 👋🏽", "x".repeat(300)];
    for (const text of texts) await write(ada, text);
    await sees(ada, texts);
    assert.equal(await ben.locator(".unread").textContent({ timeout: 30_000 }), String(texts.length));
    await ben.locator(".conversations li a").first().click();
    await sees(ben, texts);
    await write(ben, "Yes, here I am.");
    texts.push("Yes, here I am.");
    await tablet.goto(`${address}#user/${benId}`);
    for (const page of [ada, ben, tablet]) await sees(page, texts);

    await services.kill("conn");
    await ben.locator(".banner").waitFor();
    await write(ben, "Written without a connection.");
    await write(ada, "So is this.");
    await sleep(300);
    services.start("conn");
    await services.listens(8003);
    for (const from = Date.now(); (await tablet.locator(".bubble").count()) < texts.length + 2; await sleep(30)) assert.ok(Date.now() - from < 60_000);
    const inTheEnd = await tablet.locator(".bubble > p").allTextContents();
    assert.deepEqual(inTheEnd.slice(texts.length).sort(), ["So is this.", "Written without a connection."]);
    // Until the answers came, everybody has the own message at the end; then the order is that of the inbox.
    await ada.locator(".banner").waitFor({ state: "detached" });
    await ada.reload();
    await sees(ada, inTheEnd);
    await ben.reload();
    for (const from = Date.now(); (await ben.locator(".bubble").count()) < inTheEnd.length; await sleep(30)) assert.ok(Date.now() - from < 30_000);
    if (pictures) {
      await ada.screenshot({ path: `${pictures}/desktop.png` });
      await ben.screenshot({ path: `${pictures}/phone.png` });
    }
    assert.ok((await ben.evaluate(() => document.documentElement.scrollWidth)) <= 390, "nothing is wider than the phone");
    for (const page of [ada, ben]) assert.deepEqual(await obstacles(page), [], "what hinders people who cannot see or use a mouse");
    assert.deepEqual(problems, []);
    assert.notEqual(adaId, benId);
    console.log("live: the chat page shows every message once, on a desktop, a phone and a second device");
  } finally {
    await browser.close();
  }
}
