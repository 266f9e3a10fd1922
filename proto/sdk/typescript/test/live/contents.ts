// What else than words is said on the page: two users send each other every kind of content, one by one. Nothing of a stranger's content
// runs, or is asked of another site before the reader wants it, and no site learns where it was shown.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { appendFileSync, createReadStream, mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Locator } from "playwright-core";
import { Files } from "../../src/files.js";
import type { ContentFields, ContentKind } from "../../src/index.js";
import type { Desk } from "./desk.js";
import type { Gate } from "./gate.js";
import type { Identity, Services } from "./services.js";
import { until, Watched } from "./watched.js";

const PICTURE = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");
const HOSTILE = '"><img src=x onerror="window.hurt=1"><script>window.hurt=1</script>';

// A site with media, and what it was asked for.
class Site {
  readonly asked: IncomingMessage[] = [];
  readonly files = new Map<string, { type: string; bytes: Buffer }>([["/a.png", { type: "image/png", bytes: PICTURE }], ["/b.gif", { type: "image/png", bytes: PICTURE }], ["/c.wav", { type: "audio/wav", bytes: wave(2000) }]]);
  private readonly server = createServer((request, response) => {
    this.asked.push(request);
    const file = this.files.get(request.url!);
    if (file) response.setHeader("content-type", file.type);
    else response.statusCode = 404;
    response.end(file?.bytes);
  });

  get origin(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async open(): Promise<void> {
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}

export async function contents(services: Services, gate: Gate, ada: Desk, ben: Desk, group: string): Promise<void> {
  const site = new Site();
  await site.open();
  const identity = await services.signIn("+8613900000016");
  const fay = new Watched("fay", { ...identity, url: gate.url, getToken: () => identity.token });
  try {
    await meant(ada, ben, group);
    for (const [desk, peer] of [[ada, ben], [ben, ada]] as const) await desk.goTo(`user/${peer.userId}`);
    await stickers(ada, ben);
    await media(ada, ben, site);
    await uploads(ada, ben);
    await largeUpload(services, identity, ada, ben);
    await fullDisk(services, ada);
    await placesAndPeople(ada, ben);
    await answered(ada, ben);
    await forwarded(ada, ben, group);
    await hostile(ada, fay, site);
    assert.deepEqual(site.asked.filter(({ headers }) => headers.referer || headers.cookie), [], "no site learns where its media are shown");
    for (const desk of [ada, ben]) assert.ok((await desk.page.evaluate(() => document.documentElement.scrollWidth)) <= desk.page.viewportSize()!.width, "nothing is wider than the page");
    console.log("live: on the page: every kind of content is sent and shown, and nothing of it runs");
  } finally {
    await fay.client.stop();
    site.close();
  }
}

// Chosen by "@" and the beginning of a name. Who is meant sees it in the list, until it is read.
async function meant(ada: Desk, ben: Desk, group: string): Promise<void> {
  await ben.goTo("contacts");
  await ada.goTo(group);
  await ada.page.locator("textarea").pressSequentially(`See you @${ben.userId.slice(0, 2)}`);
  await ada.page.locator(".mentions li").first().waitFor();
  assert.equal(await ada.page.locator(".mentions li").count(), 1, "one member has such a name");
  await ada.page.keyboard.press("Enter");
  await ada.page.keyboard.type("at noon");
  await ada.page.keyboard.press("Enter");
  const mark = ben.page.locator(`.entry[data-key="${group}"] .meant`);
  await mark.waitFor({ state: "attached" });
  await ben.goTo(group);
  const mention = ben.page.locator(".mention.me");
  await mention.waitFor();
  assert.match((await mention.textContent())!, new RegExp(`^@.*${ben.userId}$`));
  await ben.hears(`See you ${await mention.textContent()} at noon`);
  await mark.waitFor({ state: "detached" });
  assert.equal(await ada.page.locator(".mention.me").count(), 0, "nobody else is meant");
}

async function stickers(ada: Desk, ben: Desk): Promise<void> {
  await ada.page.getByRole("button", { name: "Emoji", exact: true }).click();
  await ada.page.getByRole("button", { name: "Sticker", exact: true }).click();
  await ada.page.locator(".emoji button", { hasText: "🎉" }).click();
  await ben.page.locator(".sticker", { hasText: "🎉" }).waitFor();
}

async function media(ada: Desk, ben: Desk, site: Site): Promise<void> {
  site.files.set("/d.webm", { type: "video/webm", bytes: await film(ada) });
  await attach(ada, "Picture", `${site.origin}/a.png`, "the sea");
  await ada.page.locator(".picture img").waitFor();
  const row = ben.page.locator(".row", { hasText: "the sea" });
  const show = row.getByRole("button", { name: "Show the picture" });
  await show.waitFor();
  const before = site.asked.length;
  await show.click();
  await row.locator('img[alt="the sea"]').waitFor();
  await until("the picture is asked for", () => site.asked.length > before);

  await attach(ada, "GIF", `${site.origin}/b.gif`);
  await ben.page.getByRole("button", { name: "Show the picture" }).waitFor();
  await attach(ada, "Voice message", `${site.origin}/c.wav`);
  const sound = ben.page.locator(".sound");
  await sound.locator(".note", { hasText: "0:02" }).waitFor();
  const quiet = site.asked.length;
  await sound.getByRole("button", { name: "Play" }).click();
  await sound.getByRole("button", { name: "Pause" }).click();
  assert.ok(site.asked.length > quiet && site.asked.at(-1)!.url === "/c.wav", "it is loaded when it is played");
  await attach(ada, "Video", `${site.origin}/d.webm`, "a walk");
  await ben.page.locator(".row", { hasText: "a walk" }).getByRole("button", { name: "Play" }).click();
  await ben.page.locator("video.picture").waitFor();
  await attach(ada, "File", `${site.origin}/plan%20B.pdf`);
  const file = ben.page.locator("a.card-link", { hasText: "plan B.pdf" });
  await file.waitFor();
  assert.deepEqual([await file.getAttribute("href"), await file.getAttribute("rel")], [`${site.origin}/plan%20B.pdf`, "noopener noreferrer"]);

  await ada.page.getByRole("button", { name: "Send something else" }).click();
  await ada.page.getByRole("button", { name: "Picture", exact: true }).click();
  for (const [address, problem] of [["javascript:alert(1)", "This is no address of the web."], [`${site.origin}/gone.png`, "Nothing could be loaded from there."]]) {
    await ada.page.locator(".attach input[name=url]").fill(address!);
    await ada.page.locator(".attach").getByRole("button", { name: "Send" }).click();
    await ada.page.locator(".attach .problem", { hasText: problem! }).waitFor();
  }
  await ada.page.keyboard.press("Escape");
  await ada.page.locator(".attach").waitFor({ state: "detached" });
}

// From the device: chosen, pasted, dropped, and said into the microphone. What lies on the server is shown without being asked for.
async function uploads(ada: Desk, ben: Desk): Promise<void> {
  const pictures = ben.page.locator(`.picture img[src*="/files/"]`);
  await ada.page.getByRole("button", { name: "Send something else" }).click();
  await ada.page.getByRole("button", { name: "Picture", exact: true }).click();
  await ada.page.locator(".from-here input").setInputFiles({ name: "sea.png", mimeType: "image/png", buffer: PICTURE });
  await ben.page.waitForFunction(() => document.querySelector<HTMLImageElement>('.picture img[src*="/files/"]')?.naturalWidth === 1);
  await ada.page.evaluate(give, { event: "paste", on: "textarea", name: "pasted.png", type: "image/png", base64: PICTURE.toString("base64") });
  await pictures.nth(1).waitFor();
  await ada.page.evaluate(give, { event: "drop", on: ".lines", name: "notes.txt", type: "text/plain", base64: btoa("some notes") });
  const file = ben.page.locator("a.card-link", { hasText: "notes.txt" });
  await file.locator(".note", { hasText: "10 B" }).waitFor();
  const [saved] = await Promise.all([ben.page.waitForEvent("download"), file.click()]);
  assert.equal(saved.suggestedFilename(), "notes.txt");
  const sounds = ben.page.locator(".sound");
  const before = await sounds.count();
  await ada.page.getByRole("button", { name: "Send something else" }).click();
  await ada.page.getByRole("button", { name: "Voice message", exact: true }).click();
  await ada.page.getByRole("button", { name: "Record" }).click();
  await ada.page.locator(".from-here button", { hasText: "0:01" }).click();
  await sounds.nth(before).getByRole("button", { name: "Play" }).click();
  await ben.page.waitForFunction(() => document.querySelector(".bars .past") !== null);
  await ada.page.locator(".uploading").waitFor({ state: "detached" });
  await allowedTooLate(ada);
}

// A file of 200 MB, in the middle of which the server is killed and comes back, on its way up and down.
async function largeUpload(services: Services, identity: Identity, ada: Desk, ben: Desk): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "gim-file-"));
  try {
    const path = join(folder, "film.bin");
    const block = randomBytes(1_000_000);
    const hash = createHash("sha256");
    for (let count = 0; count < 200; count++) {
      appendFileSync(path, block);
      hash.update(block);
    }
    await ada.page.getByRole("button", { name: "Send something else" }).click();
    await ada.page.getByRole("button", { name: "File", exact: true }).click();
    await ada.page.locator(".from-here input").setInputFiles(path);
    await ada.page.waitForFunction(() => (document.querySelector<HTMLProgressElement>(".uploading progress")?.value ?? 0) > 0.05);
    await services.kill("business");
    services.start("business");
    await services.listens(8023);
    const file = ben.page.locator("a.card-link", { hasText: "film.bin" });
    await file.waitFor({ timeout: 120_000 });
    const [saved] = await Promise.all([ben.page.waitForEvent("download", { timeout: 120_000 }), file.click()]);
    const read = createHash("sha256");
    for await (const chunk of createReadStream(await saved.path())) read.update(chunk as Buffer);
    const sent = hash.digest("hex");
    assert.equal(read.digest("hex"), sent, "what comes back is what was sent");
    assert.equal(await readBySdk(services, identity, (await file.getAttribute("href"))!), sent);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

// Reads by the SDK, whose app stops once and goes on; the hash of all that came.
async function readBySdk(services: Services, identity: Identity, url: string): Promise<string> {
  const files = new Files({ url: `http://127.0.0.1:${services.port(8023)}`, ...identity, getToken: () => identity.token });
  const [read, stop] = [createHash("sha256"), new AbortController()];
  let [done, wasKilled] = [0, false];
  const write = async (bytes: Uint8Array) => {
    read.update(bytes);
    done += bytes.length;
    if (done > 150_000_000) stop.abort();
    if (done < 50_000_000 || wasKilled) return;
    wasKilled = true;
    await services.kill("business");
    services.start("business");
  };
  await assert.rejects(files.download(url, write, { signal: stop.signal }), { name: "AbortError" });
  assert.ok(wasKilled);
  assert.equal(await files.download(url, (bytes) => void read.update(bytes), { from: done }), 200_000_000);
  return read.digest("hex");
}

// The page says what the server says of a disk that is full, and what goes on later goes through, unless it is taken away.
async function fullDisk(services: Services, ada: Desk): Promise<void> {
  const restart = async (settings: Record<string, string>) => {
    await services.kill("business");
    services.start("business", settings);
    await services.listens(8023);
  };
  const paste = (name: string) => ada.page.evaluate(give, { event: "paste", on: "textarea", name, type: "text/plain", base64: btoa("some notes more") });
  await restart({ GIM_BUSINESS_FILES__FOLDER_FREE_BYTES_MIN: String(2 ** 50) });
  await paste("full.txt");
  const refused = ada.page.locator(".uploading", { hasText: "no room for the file" });
  await refused.waitFor();
  await paste("taken-away.txt");
  const taken = ada.page.locator(".uploading", { hasText: "taken-away.txt" });
  await taken.getByRole("button", { name: "Cancel" }).click();
  await taken.waitFor({ state: "detached" });
  await restart({});
  await refused.getByRole("button", { name: "Go on" }).click();
  await ada.page.locator("a.card-link", { hasText: "full.txt" }).waitFor();
  await refused.waitFor({ state: "detached" });
}

// The browser is allowed to hear when the panel is closed already: it hears nothing.
async function allowedTooLate(ada: Desk): Promise<void> {
  await ada.page.evaluate(() => {
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
      await new Promise((resolve) => { (globalThis as any).allow = resolve; });
      return ((globalThis as any).stream = await ask(wanted));
    };
  });
  await ada.page.getByRole("button", { name: "Send something else" }).click();
  await ada.page.getByRole("button", { name: "Voice message", exact: true }).click();
  await ada.page.getByRole("button", { name: "Record" }).click();
  await ada.page.locator(".lines").click({ position: { x: 5, y: 5 } });
  await ada.page.locator(".attach").waitFor({ state: "detached" });
  await ada.page.evaluate(() => { (globalThis as any).allow(); });
  await ada.page.waitForFunction(() => (globalThis as any).stream?.getTracks().every((track: MediaStreamTrack) => track.readyState === "ended"));
}

// Runs in the page: what the browser does when a file is pasted or dropped.
function give({ event, on, name, type, base64 }: { event: string; on: string; name: string; type: string; base64: string }): void {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))], name, { type }));
  const given = event === "paste" ? new ClipboardEvent(event, { clipboardData: data, bubbles: true, cancelable: true }) : new DragEvent(event, { dataTransfer: data, bubbles: true, cancelable: true });
  document.querySelector(on)!.dispatchEvent(given);
}

async function placesAndPeople(ada: Desk, ben: Desk): Promise<void> {
  await ada.page.getByRole("button", { name: "Send something else" }).click();
  await ada.page.getByRole("button", { name: "Place", exact: true }).click();
  await ada.page.locator("input[name=latitude]").fill("48.137");
  await ada.page.locator("input[name=longitude]").fill("11.575");
  await ada.page.locator(".attach input[name=title]").fill("The old square");
  await ada.page.locator(".attach").getByRole("button", { name: "Send" }).click();
  const place = ben.page.locator("a.card-link", { hasText: "The old square" });
  await place.waitFor();
  assert.match((await place.getAttribute("href"))!, /^https:\/\/www\.openstreetmap\.org\/\?mlat=48\.137000&mlon=11\.575000/);
  await ada.page.getByRole("button", { name: "Send something else" }).click();
  await ada.page.getByRole("button", { name: "Contact", exact: true }).click();
  await ada.page.locator(".attach .person").first().getByRole("button", { name: "Send" }).click();
  const card = ben.page.locator("a.card-link", { hasText: "Contact" });
  await card.waitFor();
  assert.match((await card.getAttribute("href"))!, /^#user\/\d+$/);
}

// An answer says what it answers, and leads there, however far away it is.
async function answered(ada: Desk, ben: Desk): Promise<void> {
  await ben.write("What shall we eat?");
  await ada.hears("What shall we eat?");
  for (let line = 0; line < 40; line++) await ben.write(`thought ${line}`);
  await ada.hears("thought 39");
  await ada.page.evaluate(() => { document.querySelector(".lines")!.scrollTop -= 1500; });
  const question = ada.page.locator(".row", { has: ada.page.locator(".bubble > p", { hasText: "What shall we eat?" }) });
  await question.hover();
  await question.getByRole("button", { name: "More" }).click();
  await question.getByRole("button", { name: "Reply" }).click();
  await ada.page.locator(".answering", { hasText: "What shall we eat?" }).waitFor();
  await ada.write("Soup.");
  await ada.page.locator(".answering").waitFor({ state: "detached" });
  const answer = ben.page.locator(".row", { has: ben.page.locator(".bubble > p", { hasText: "Soup." }) });
  await answer.locator(".quote", { hasText: "What shall we eat?" }).click();
  await ben.page.locator(".revealed", { hasText: "What shall we eat?" }).waitFor();
  await inView(ben.page.locator(".revealed"));
}

// Two messages as one, which opens as a list; and one as it is.
async function forwarded(ada: Desk, ben: Desk, group: string): Promise<void> {
  const choose = async (words: string) => ada.page.locator(".choice", { hasText: words }).last().click();
  await ada.goTo(`user/${ben.userId}`);
  await ada.hears("Soup.");
  const first = ada.page.locator(".row", { has: ada.page.locator(".bubble > p", { hasText: "Soup." }) });
  await first.hover();
  await first.getByRole("button", { name: "More" }).click();
  await first.getByRole("button", { name: "Forward" }).click();
  await choose("thought 39");
  await ada.page.locator(".forwarding", { hasText: "2 chosen" }).getByRole("button", { name: "Forward" }).click();
  await ada.page.locator("dialog .pick", { hasText: "Lunch on Friday" }).click();
  await ada.page.locator("h2", { hasText: "Lunch on Friday" }).waitFor();
  await ben.goTo(group);
  await ben.page.locator(".forwarded", { hasText: "2 messages" }).click();
  const said = ben.page.locator("dialog .said");
  await said.nth(1).waitFor();
  assert.deepEqual(await said.locator(".bubble > p").allTextContents(), ["thought 39", "Soup."]);
  await said.nth(1).locator(".quote", { hasText: "What shall we eat?" }).waitFor();
  assert.deepEqual(await ben.obstaclesHere(), [], "what hinders people who cannot see or use a mouse in what was forwarded");
  await ben.page.keyboard.press("Escape");
  await ben.page.locator("dialog").waitFor({ state: "detached" });
}

// Contents of somebody who means no good: shown as they are, asked nowhere, and nothing of it runs.
async function hostile(ada: Desk, fay: Watched, site: Site): Promise<void> {
  await ada.goTo(`user/${fay.client.userId}`);
  const before = site.asked.length;
  const send = <K extends ContentKind>(kind: K, fields: ContentFields<K>) => fay.client.sendContent({ kind: "user", id: ada.userId }, kind, fields);
  // None that she has seen.
  const at = { url: `${site.origin}/e.png` };
  send("text", { text: HOSTILE, mentions: [{ userId: 7n, offset: 0, length: 5 }] });
  send("image", { media: at, width: 1, height: 4_000_000_000, caption: HOSTILE, thumbnail: Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" onload="window.hurt=1"/>`) });
  send("file", { media: at, name: `invoice\u202egpj.exe` });
  send("location", { latitude: 1, longitude: 2, title: HOSTILE, address: "a".repeat(1000) });
  send("contactCard", { userId: 5n, nickname: HOSTILE, avatarUrl: at.url });
  send("mergedForward", { title: HOSTILE, messages: [{ nickname: HOSTILE, command: 1, content: Buffer.from(HOSTILE), createdAtMs: 2n ** 62n }] });
  send("reply", { messageId: 1n, quote: HOSTILE, text: { text: "an answer to nothing" } });
  send("custom", { type: "game", preview: "a game of chess" });
  send("custom", { type: "secret" });
  fay.client.send({ kind: "user", id: ada.userId }, new Uint8Array([0xff, 0xfe]), { command: 1000 });
  await until("all of it is answered", () => fay.outcomes.size === 10);
  assert.deepEqual([...new Set(fay.outcomes.values())], ["sent"]);
  await ada.hears("a game of chess");
  await ada.page.locator(".hint", { hasText: "A message that this page cannot show" }).nth(1).waitFor();
  await ada.page.locator(".card-link strong", { hasText: /^invoicegpj\.exe$/ }).waitFor();
  await ada.page.locator(".quote", { hasText: "onerror" }).click();
  await ada.page.locator(".toast", { hasText: "That message is not to be found here." }).waitFor();
  await ada.page.locator(".forwarded").click();
  await ada.page.locator("dialog .said", { hasText: "onerror" }).waitFor();
  await ada.page.keyboard.press("Escape");
  await ada.page.locator("dialog").waitFor({ state: "detached" });
  // A picture that was not shown is not shown for being handed on.
  const picture = ada.page.locator(".row", { has: ada.page.locator(".picture.ask") }).first();
  await ada.page.evaluate(() => { document.querySelector(".lines")!.scrollTop = 0; });
  await picture.hover();
  await picture.getByRole("button", { name: "More" }).click();
  await picture.getByRole("button", { name: "Forward" }).click();
  await ada.page.locator(".forwarding").getByRole("button", { name: "Forward" }).click();
  await ada.page.locator("dialog .pick", { hasText: "Lunch on Friday" }).click();
  await ada.page.locator("h2", { hasText: "Lunch on Friday" }).waitFor();
  await ada.page.locator(".row.own .picture.ask").waitFor();
  await ada.goTo(`user/${fay.client.userId}`);
  fay.client.send({ kind: "user", id: ada.userId }, "and an ordinary one");
  await ada.hears("and an ordinary one");
  assert.equal(await ada.page.evaluate(() => (globalThis as any).hurt), undefined, "nothing runs");
  assert.equal(await ada.page.locator(".lines script, .lines img[src=x], .lines iframe").count(), 0);
  assert.equal(site.asked.length, before, "nothing is asked of another site");
}

async function attach(desk: Desk, kind: string, url: string, words = ""): Promise<void> {
  await desk.page.getByRole("button", { name: "Send something else" }).click();
  await desk.page.getByRole("button", { name: kind, exact: true }).click();
  await desk.page.locator(".attach input[name=url]").fill(url);
  if (words) await desk.page.locator(".attach input[name=words]").fill(words);
  await desk.page.locator(".attach").getByRole("button", { name: "Send" }).click();
  await desk.page.locator(".attach").waitFor({ state: "detached" });
}

async function inView(element: Locator): Promise<void> {
  const [box, list] = [await element.boundingBox(), await element.page().locator(".lines").boundingBox()];
  assert.ok(box && list && box.y >= list.y && box.y + box.height <= list.y + list.height, "it is in view");
}

// Silence of so many milliseconds.
function wave(ms: number): Buffer {
  const header = Buffer.alloc(44);
  const bytes = 8 * ms;
  header.write("RIFF", 0), header.writeUInt32LE(36 + bytes, 4), header.write("WAVEfmt ", 8), header.writeUInt32LE(16, 16), header.writeUInt16LE(1, 20), header.writeUInt16LE(1, 22);
  header.writeUInt32LE(8000, 24), header.writeUInt32LE(8000, 28), header.writeUInt16LE(1, 32), header.writeUInt16LE(8, 34), header.write("data", 36), header.writeUInt32LE(bytes, 40);
  return Buffer.concat([header, Buffer.alloc(bytes, 128)]);
}

// Some moments of a red square, as the browser records it.
async function film(desk: Desk): Promise<Buffer> {
  const base64 = await desk.page.evaluate(async () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 48 });
    const context = canvas.getContext("2d")!;
    const recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: "video/webm" });
    const parts: Blob[] = [];
    recorder.ondataavailable = ({ data }) => { parts.push(data); };
    const stopped = new Promise((resolve) => { recorder.onstop = resolve; });
    recorder.start();
    for (let frame = 0; frame < 12; frame++) {
      context.fillStyle = frame % 2 ? "red" : "blue";
      context.fillRect(0, 0, 64, 48);
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    recorder.stop();
    await stopped;
    return btoa(Array.from(new Uint8Array(await new Blob(parts).arrayBuffer()), (byte) => String.fromCharCode(byte)).join(""));
  });
  return Buffer.from(base64, "base64");
}
