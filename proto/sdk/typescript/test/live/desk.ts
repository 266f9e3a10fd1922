// A user before the chat page.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import type { Page } from "playwright-core";

const DEADLINE_MS = 90_000;

export class Desk {
  userId = "";

  constructor(
    readonly page: Page,
    readonly address: string,
  ) {}

  async signIn(phone: string, place = ""): Promise<void> {
    await this.page.goto(`${this.address}#${place}`);
    await this.page.locator("input[name=phone]").fill(phone);
    await this.page.locator("input[name=code]").fill("123456");
    await this.page.locator("button.primary").click();
    this.userId = (await this.page.locator(".own-number").textContent())!.match(/\d+/)![0];
  }

  // What the address says after "#".
  async goTo(place: string): Promise<void> {
    await this.page.goto(`${this.address}#${place}`);
    // It is there once what the browser has stored is shown; until then, the conversation of before is.
    if (/^(user|group|room).\d+$/.test(place)) await this.page.locator(`.talk[data-key="${place}"] .lines-frame`).waitFor();
  }

  async find(key: string): Promise<void> {
    await this.page.locator("input[type=search]").fill(key);
    await this.page.getByRole("button", { name: "Find people" }).click();
    await this.page.locator(".person").first().waitFor();
  }

  async write(text: string): Promise<void> {
    await this.page.locator("textarea").fill(text);
    await this.page.locator("textarea").press("Enter");
  }

  // The text of every bubble, from the first one to the last: only those in view are in the page, so this scrolls through all of it.
  async texts(): Promise<string[]> {
    return this.page.evaluate(readAll);
  }

  async hasLines(count: number): Promise<void> {
    await this.until(`there are ${count} lines`, async () => (await this.texts()).length === count);
  }

  // In this order, and nothing else.
  async sees(expected: string[]): Promise<void> {
    await this.until(`${expected.length} lines are seen`, async () => differences(await this.texts(), expected).length === 0).catch(() => {});
    assert.deepEqual(differences(await this.texts(), expected), []);
  }

  // Last, in this order. What this browser does not have comes from the server, after what it has is drawn.
  async endsWith(expected: string[]): Promise<void> {
    const tail = async () => (await this.texts()).slice(-expected.length);
    await this.until(`the last ${expected.length} lines are seen`, async () => differences(await tail(), expected).length === 0).catch(() => {});
    assert.deepEqual(await tail(), expected);
  }

  // The newest line, at the end of the list.
  async hears(text: string): Promise<void> {
    await this.page.locator(".bubble > p", { hasText: text }).last().waitFor({ timeout: DEADLINE_MS });
  }

  async hasUnread(conversation: string, count: number): Promise<void> {
    const mark = this.page.locator(`.entry[data-key="${conversation}"] .unread`);
    await this.until(`${count} are unread`, async () => parseInt((await mark.textContent({ timeout: DEADLINE_MS })) ?? "", 10) === count);
  }

  // All that this browser has of a conversation, but for the newest ones.
  async loses(conversation: string, keep: number): Promise<void> {
    assert.ok((await this.page.evaluate(forget, { conversation, keep })) > 0, "there was something to lose");
  }

  // What axe-core finds that is serious.
  async obstacles(): Promise<string[]> {
    const found: string[] = [];
    for (const place of ["", "contacts", "new-group", "own", ...(await this.places())]) {
      await this.goTo(place);
      await sleep(200);
      found.push(...(await this.obstaclesHere()).map((obstacle) => `#${place} ${obstacle}`));
    }
    return found;
  }

  async obstaclesHere(): Promise<string[]> {
    // The page lets nothing run but its own script, so this comes by the debugger.
    await this.page.evaluate(readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"));
    const { violations } = await this.page.evaluate(() => (globalThis as any).axe.run());
    const serious = violations.filter(({ impact }: { impact: string }) => impact === "serious" || impact === "critical");
    return serious.map(({ id, nodes }: { id: string; nodes: { html: string }[] }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  }

  private async places(): Promise<string[]> {
    const keys = await this.page.locator(".entry").evaluateAll((entries) => entries.map((entry) => (entry as HTMLElement).dataset["key"]!));
    return keys.flatMap((key) => [key, `${key}/info`]);
  }

  private async until(what: string, condition: () => Promise<boolean>): Promise<void> {
    for (const from = Date.now(); !(await condition()); await sleep(100)) {
      if (Date.now() - from > DEADLINE_MS) throw new Error(`it takes too long until ${what}`);
    }
  }
}

// Where two lists differ, in few words.
function differences(found: string[], expected: string[]): string[] {
  const at = Array.from({ length: Math.max(found.length, expected.length) }, (_, index) => index).find((index) => found[index] !== expected[index]);
  return at === undefined ? [] : [`line ${at} of ${found.length} (${expected.length}): ${JSON.stringify(found[at])} instead of ${JSON.stringify(expected[at])}`];
}

// Runs in the page. Returns how many there were to forget.
async function forget({ conversation, keep }: { conversation: string; keep: number }): Promise<number> {
  const answer = <T>(request: IDBRequest<T>) => new Promise<T>((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  let count = 0;
  for (const { name } of await indexedDB.databases()) {
    const database = await answer(indexedDB.open(name!));
    const store = database.transaction("messages", "readwrite").objectStore("messages");
    const keys = await answer(store.index("conversation").getAllKeys(IDBKeyRange.bound([conversation, -Infinity], [conversation, Infinity])));
    const lost = keys.slice(0, keys.length - keep);
    await Promise.all(lost.map((key) => answer(store.delete(key))));
    count += lost.length;
    database.close();
  }
  return count;
}

// Runs in the page: up to the first line, then down to the last one, and remembers each.
async function readAll(): Promise<string[]> {
  const list = document.querySelector<HTMLElement>(".lines");
  if (!list) return [];
  const frame = () => new Promise((resolve) => setTimeout(resolve, 20));
  for (let calm = 0, frames = 0; calm < 3 && frames < 3000; frames++, await frame()) {
    const isAtTop = list.scrollTop === 0 && !list.querySelector('[data-row="earlier"]');
    calm = isAtTop ? calm + 1 : 0;
    list.scrollTop = 0;
  }
  const texts = new Map<string, string>();
  const order: string[] = [];
  for (let calm = 0, frames = 0; calm < 3 && frames < 3000; frames++) {
    for (const row of list.querySelectorAll<HTMLElement>("[data-row]")) {
      const text = row.querySelector(".bubble > p")?.textContent;
      if (text === undefined || text === null) continue;
      if (!texts.has(row.dataset["row"]!)) order.push(row.dataset["row"]!);
      texts.set(row.dataset["row"]!, text);
    }
    const before = list.scrollTop;
    list.scrollTop = before + list.clientHeight / 2;
    await frame();
    // Rows that come meanwhile put the list back where it was.
    calm = list.scrollTop <= before ? calm + 1 : 0;
  }
  list.scrollTop = list.scrollHeight;
  await frame();
  return order.map((key) => texts.get(key)!);
}
