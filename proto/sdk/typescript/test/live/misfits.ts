// What may go wrong in the browser itself, and texts that are no ordinary ones: the page goes on, says what is the matter, and shows all.

import assert from "node:assert/strict";
import type { Desk } from "./desk.js";
import type { Gate } from "./gate.js";
import type { Services } from "./services.js";
import { until, Watched } from "./watched.js";

// As long as a message may be.
const LONG = "a word and ".repeat(5580);
const STRANGE = ["a\u200b\u202eb\u0000\u0007c", "<img src=x onerror=alert(1)>", "\u200b\u200e", "l\u0336\u0336\u0336\u0336o\u0336\u0336\u0336ng", "W".repeat(200)];

// `open` opens a page of its own for a user, at the width of a phone.
export async function misfits(services: Services, gate: Gate, open: (phone: string) => Promise<Desk>): Promise<void> {
  const identity = await services.signIn("+8613900000014");
  const dan = new Watched("dan", { ...identity, url: gate.url, getToken: () => identity.token });
  const eve = await open("+8613900000015");
  await eve.goTo(`user/${identity.userId}`);
  const say = (text: string) => dan.client.send({ kind: "user", id: eve.userId }, text);

  await offline(eve, say, gate);
  await strangeTexts(eve, say);
  await storageIsCleared(eve, say);
  await storageIsFull(eve, say);
  await signedOutElsewhere(eve, identity.userId, services);
  await until("nothing of it waits", () => [...dan.outcomes.values()].every((outcome) => outcome === "sent"));
  await dan.client.stop();
  console.log("live: on the page: strange texts, no network, storage that is cleared or full, and a token that is taken back");
}

// Without a network the page says so, and what is written waits; it goes out by itself when there is one again.
async function offline(eve: Desk, say: (text: string) => void, gate: Gate): Promise<void> {
  gate.isShut = true;
  gate.cut();
  const banner = eve.page.locator(".banner", { hasText: "No connection." });
  await banner.waitFor();
  await eve.write("written without a network");
  const row = eve.page.locator(".row", { hasText: "written without a network" });
  await row.locator(".status", { hasText: "sending" }).waitFor();
  say("said without a network");
  gate.isShut = false;
  await eve.hears("said without a network");
  await row.getByRole("img", { name: "sent" }).waitFor();
  await banner.waitFor({ state: "detached" });
}

async function strangeTexts(eve: Desk, say: (text: string) => void): Promise<void> {
  say(LONG);
  const row = eve.page.locator(".row", { hasText: "a word and a word" });
  await row.getByRole("button", { name: "Show all of it" }).click();
  await eve.page.waitForFunction((wanted) => [...document.querySelectorAll(".bubble > p")].some((line) => line.textContent === wanted), LONG);
  for (const text of [...STRANGE, "and an ordinary one"]) say(text);
  await eve.hears("and an ordinary one");
  await eve.page.locator(".hint", { hasText: "This message has no visible text." }).waitFor();
  assert.equal(await eve.page.locator(".bubble img").count(), 0, "text is never HTML");
  assert.ok((await eve.page.evaluate(() => document.documentElement.scrollWidth)) <= 390, "nothing is wider than the phone");
}

async function storageIsCleared(eve: Desk, say: (text: string) => void): Promise<void> {
  await eve.page.evaluate(async () => {
    for (const { name } of await indexedDB.databases()) {
      await new Promise((resolve, reject) => {
        const request = indexedDB.deleteDatabase(name!);
        request.onsuccess = resolve;
        request.onerror = reject;
      });
    }
  });
  say("after it was cleared");
  await eve.hears("after it was cleared");
  await eve.page.reload();
  // What is not here comes from the server.
  await eve.endsWith(["and an ordinary one", "after it was cleared"]);
}

// As a browser says it; none can be filled in a test.
async function storageIsFull(eve: Desk, say: (text: string) => void): Promise<void> {
  await eve.page.evaluate(() => {
    IDBObjectStore.prototype.put = () => { throw new DOMException("there is no room", "QuotaExceededError"); };
    Storage.prototype.setItem = () => { throw new DOMException("there is no room", "QuotaExceededError"); };
  });
  say("while it is full");
  await eve.hears("while it is full");
  await eve.page.locator(".banner", { hasText: "This browser cannot store messages" }).waitFor();
  await eve.write("And I write");
  await eve.hears("And I write");
  await eve.page.locator(".row", { hasText: "And I write" }).getByRole("img", { name: "sent" }).waitFor();
  await eve.page.reload();
  await eve.endsWith(["after it was cleared", "while it is full", "And I write"]);
}

// The token is good no longer while the page is connected with it.
async function signedOutElsewhere(eve: Desk, peerId: string, services: Services): Promise<void> {
  await services.revoke(eve.userId);
  const banner = eve.page.locator(".banner", { hasText: "You were signed out." });
  await banner.waitFor();
  await banner.getByRole("button", { name: "Sign in" }).click();
  await eve.page.locator("input[name=phone]").waitFor();
  assert.deepEqual(await eve.obstaclesHere(), [], "what hinders people who cannot see or use a mouse at the sign-in");
  // A link to a conversation leads there by way of the sign-in.
  await eve.signIn("+8613900000015", `user/${peerId}`);
  await eve.hears("And I write");
}
