// A browser is woken: the page subscribes, the server encrypts for it and calls the service of the browser's maker, here a stand-in that
// checks who calls and decrypts, and Chromium hands what it decrypted to the service worker, by its devtools protocol. What only the
// maker's network can do, to subscribe there, is stood in for in the page.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createDecipheriv, createECDH, createPublicKey, generateKeyPairSync, hkdfSync, randomBytes, verify } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createSecureServer, type Http2SecureServer, type IncomingHttpHeaders } from "node:http2";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, type BrowserContext, type Page } from "playwright-core";
import type { Client } from "../../src/index.js";
import { Desk } from "./desk.js";
import type { Services } from "./services.js";
import { until, Watched } from "./watched.js";

const CURVE = "prime256v1";

// What a push says, as the service worker gets it.
type Text = { conversation: string; title: string; preview: string; badge: number };

export async function inTheBackground(services: Services, peer: Client): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "gim-waking-"));
  const maker = await Maker.start(folder);
  const vapid = generateKeyPairSync("ec", { namedCurve: "P-256" });
  writeFileSync(join(folder, "vapid.pem"), vapid.privateKey.export({ type: "pkcs8", format: "pem" }));
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  try {
    await services.kill("logic");
    services.start("logic", {
      GIM_LOGIC_OFFLINE_PUSH__WEB_PUSH_KEY_FILE: join(folder, "vapid.pem"), GIM_LOGIC_OFFLINE_PUSH__WEB_PUSH_SUBJECT: "mailto:ops@example.com",
      GIM_LOGIC_OFFLINE_PUSH__WEB_PUSH_HOSTS: JSON.stringify([new URL(maker.url).host]), GIM_LOGIC_OFFLINE_PUSH__AUTHORITIES_FILE: join(folder, "ca.pem"),
    });
    await services.listens(8010);
    await services.listens(8012);
    await until("the peer is back", () => peer.state.name === "live");
    const context = await browser.newContext({ locale: "en" });
    const address = `http://127.0.0.1:${services.port(8022)}/`;
    await context.grantPermissions(["notifications"], { origin: address });
    await context.addInitScript(standIn, { endpoint: `${maker.url}/ada`, p256dh: maker.publicKey, auth: maker.auth.toString("base64url") });
    const ada = new Desk(await context.newPage(), address);
    await ada.signIn("+8613900000031");
    await turnOn(ada, publicPoint(vapid.publicKey));
    await woken(context, ada, maker, vapid.publicKey, peer);
    await signedOut(services, ada, maker, peer);
    console.log("live: a browser without an open page is woken, opens what is pressed on, and is woken no more after a sign-out");
  } finally {
    await browser.close();
    maker.server.close();
    rmSync(folder, { recursive: true });
    await services.kill("logic");
    services.start("logic");
    await services.listens(8010);
    await services.listens(8012);
  }
}

async function turnOn(ada: Desk, serverKey: string): Promise<void> {
  await ada.goTo("own");
  await ada.page.getByLabel("Tell me of messages").check();
  await subscribedWith(ada.page, serverKey);
  assert.deepEqual(await ada.obstaclesHere(), []);
  await ada.page.reload();
  await ada.page.locator("input[type=checkbox]:checked").waitFor();
}

// With which key of a server the browser's maker knows the page; null for not at all.
async function subscribedWith(page: Page, expected: string | null): Promise<void> {
  const key = () => page.evaluate(() => localStorage.getItem("subscribed with"));
  for (const from = Date.now(); (await key()) !== expected && Date.now() - from < 30_000; ) await page.waitForTimeout(50);
  assert.equal(await key(), expected);
}

// No chat page is open. What the server sent is shown, once for the conversation, and a press on it opens the conversation.
async function woken(context: BrowserContext, ada: Desk, maker: Maker, serverKey: ReturnType<typeof createPublicKey>, peer: Client): Promise<void> {
  await ada.page.goto(`${ada.address}config.json`);
  const told = await maker.pushes("/ada", 1, () => peer.sendContent({ kind: "user", id: ada.userId }, "text", { text: "Are you <b>there</b>?" }));
  const { headers, text } = told[0]!;
  assert.deepEqual([text.preview, text.conversation], ["Are you <b>there</b>?", `u${peer.userId}`]);
  assert.equal(text.badge, 1);
  checkCaller(headers, maker.url, serverKey);
  const registered = await registrationOf(ada.page);
  for (const preview of [text.preview, "the newest one"]) {
    await registered.deliver(JSON.stringify({ ...text, preview }));
    await shown(ada.page, [[`u${peer.userId}`, text.title || new URL(ada.address).host, preview]]);
  }
  // What is no text of the server's is shown as nothing, and breaks nothing.
  await registered.deliver("no JSON");
  await shown(ada.page, [["", new URL(ada.address).host, ""], [`u${peer.userId}`, text.title || new URL(ada.address).host, "the newest one"]]);
  const [worker] = context.serviceWorkers();
  await ada.goTo("");
  await worker!.evaluate(async (tag) => {
    const scope = globalThis as any;
    const [notification] = await scope.registration.getNotifications({ tag });
    scope.dispatchEvent(new scope.NotificationEvent("notificationclick", { notification }));
  }, `u${peer.userId}`);
  await ada.hears("Are you <b>there</b>?");
  assert.equal(new URL(ada.page.url()).hash, `#user/${peer.userId}`);
  await registered.detach();
}

async function signedOut(services: Services, ada: Desk, maker: Maker, peer: Client): Promise<void> {
  await ada.goTo("own");
  await ada.page.getByRole("button", { name: "Sign out" }).click();
  await ada.page.locator("input[name=phone]").waitFor();
  await subscribedWith(ada.page, null);
  assert.equal(await ada.page.evaluate(async () => (await (await navigator.serviceWorker.getRegistration())!.getNotifications()).length), 0, "nothing stays on the screen");
  // Another device, which is woken: by then Ada's would have been.
  const who = await services.signIn("+8613900000032");
  const { client: other } = new Watched("the other device", { ...who, getToken: () => who.token, locate: `http://127.0.0.1:${services.port(8012)}/locate` });
  await until("the other device is connected", () => other.state.name === "live");
  await other.devices.update({ pushId: JSON.stringify(maker.subscription("/other")) });
  await other.stop();
  // Which devices are woken is remembered for a moment.
  const ofAda = () => maker.got.filter(({ path }) => path === "/ada").length;
  for (const from = Date.now(), before = ofAda(); ; ) {
    const soFar = ofAda();
    await maker.pushes("/other", 1, () => {
      peer.send({ kind: "user", id: ada.userId }, "to one who signed out");
      peer.send({ kind: "user", id: who.userId }, "to one who did not");
    });
    if (ofAda() === soFar) break;
    assert.ok(Date.now() - from < 10_000, `who signed out is woken: ${ofAda() - before} times`);
  }
}

// By RFC 8292: a token of the key that the page subscribed with, for this service alone.
function checkCaller(headers: IncomingHttpHeaders, url: string, serverKey: ReturnType<typeof createPublicKey>): void {
  const [, token, key] = /^vapid t=(.+), k=(.+)$/.exec(String(headers.authorization)) ?? [];
  assert.equal(key, publicPoint(serverKey));
  const [head, claims, signature] = token!.split(".");
  const isRight = verify("sha256", Buffer.from(`${head}.${claims}`), { key: serverKey, dsaEncoding: "ieee-p1363" }, Buffer.from(signature!, "base64url"));
  assert.ok(isRight, "the token is signed with the key");
  const { aud, exp, sub } = JSON.parse(Buffer.from(claims!, "base64url").toString());
  assert.deepEqual([aud, sub], [url, "mailto:ops@example.com"]);
  assert.ok(exp * 1000 > Date.now() && exp * 1000 <= Date.now() + 24 * 3_600_000, "it holds for a day at most");
  assert.deepEqual([headers["content-encoding"], Number(headers.ttl) > 0], ["aes128gcm", true]);
}

// What Chromium knows of the service worker of a page's origin.
async function registrationOf(page: Page): Promise<{ deliver: (data: string) => Promise<void>; detach: () => Promise<void> }> {
  const session = await page.context().newCDPSession(page);
  let registrationId = "";
  session.on("ServiceWorker.workerRegistrationUpdated", ({ registrations }) => { registrationId = registrations.at(-1)?.registrationId ?? registrationId; });
  await session.send("ServiceWorker.enable");
  await until("the service worker is known", () => registrationId !== "");
  const { origin } = new URL(page.url());
  return {
    deliver: async (data) => { await session.send("ServiceWorker.deliverPushMessage", { origin, registrationId, data }); },
    detach: () => session.detach(),
  };
}

// Tag, title and text of all notifications, in this order.
async function shown(page: Page, expected: string[][]): Promise<void> {
  const all = () => page.evaluate(async () => {
    const notifications = await (await navigator.serviceWorker.getRegistration("/"))!.getNotifications();
    return notifications.map(({ tag, title, body }) => [tag, title, body]).sort();
  });
  const isThere = async () => JSON.stringify(await all()) === JSON.stringify(expected.toSorted());
  for (const from = Date.now(); !(await isThere()) && Date.now() - from < 30_000; ) await page.waitForTimeout(50);
  assert.deepEqual(await all(), expected.toSorted());
}

// The point on the curve, as browsers and tokens write it.
function publicPoint(key: ReturnType<typeof createPublicKey>): string {
  const { x, y } = key.export({ format: "jwk" });
  return Buffer.concat([Buffer.from([4]), Buffer.from(x!, "base64url"), Buffer.from(y!, "base64url")]).toString("base64url");
}

// The service of a browser's maker.
class Maker {
  readonly got: { path: string; headers: IncomingHttpHeaders; text: Text }[] = [];
  readonly auth = randomBytes(16);
  private readonly key = createECDH(CURVE);
  readonly publicKey = this.key.generateKeys("base64url");

  private constructor(readonly server: Http2SecureServer) {}

  static async start(folder: string): Promise<Maker> {
    certificates(folder);
    const server = createSecureServer({ key: readFileSync(join(folder, "key.pem")), cert: readFileSync(join(folder, "cert.pem")), allowHTTP1: true });
    const maker = new Maker(server);
    server.on("request", (request, response) => {
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("end", () => {
        maker.got.push({ path: request.url, headers: request.headers, text: maker.decrypted(Buffer.concat(parts)) });
        response.writeHead(201).end();
      });
    });
    server.listen(0, "localhost");
    await once(server, "listening");
    return maker;
  }

  get url(): string {
    return `https://localhost:${(this.server.address() as AddressInfo).port}`;
  }

  subscription(path: string): object {
    return { endpoint: `${this.url}${path}`, keys: { p256dh: this.publicKey, auth: this.auth.toString("base64url") } };
  }

  // The newest pushes for a path, so many more than there were before something was done.
  async pushes(path: string, count: number, done: () => void): Promise<Maker["got"]> {
    const of = () => this.got.filter((push) => push.path === path);
    const before = of().length;
    done();
    await until(`${count} pushes came to ${path}`, () => of().length >= before + count);
    return of().slice(before);
  }

  // By RFC 8291: salt, size of a record, the sender's key, and one record.
  private decrypted(body: Buffer): Text {
    const [salt, sender, record] = [body.subarray(0, 16), body.subarray(21, 86), body.subarray(86)];
    assert.deepEqual([body.readUInt32BE(16), body[20]], [4096, 65]);
    const info = Buffer.concat([Buffer.from("WebPush: info\0"), Buffer.from(this.publicKey, "base64url"), sender]);
    const secret = hkdfSync("sha256", this.key.computeSecret(sender), this.auth, info, 32);
    const derived = (name: string, length: number) => Buffer.from(hkdfSync("sha256", Buffer.from(secret), salt, `Content-Encoding: ${name}\0`, length));
    const decipher = createDecipheriv("aes-128-gcm", derived("aes128gcm", 16), derived("nonce", 12)).setAuthTag(record.subarray(-16));
    const text = Buffer.concat([decipher.update(record.subarray(0, -16)), decipher.final()]);
    assert.equal(text.at(-1), 2, "it is the last record");
    return JSON.parse(text.subarray(0, -1).toString());
  }
}

// An authority, and a certificate of it for this host.
function certificates(folder: string): void {
  const openssl = (...args: string[]) => execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", `ec_paramgen_curve:${CURVE}`, "-nodes", "-days", "2", ...args], { cwd: folder, stdio: "pipe" });
  openssl("-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=an authority");
  openssl("-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE");
}

// Runs in the page, in the place of the network of the browser's maker.
function standIn({ endpoint, p256dh, auth }: { endpoint: string; p256dh: string; auth: string }): void {
  const KEY = "subscribed with";
  const subscription = {
    toJSON: () => ({ endpoint, expirationTime: null, keys: { p256dh, auth } }),
    unsubscribe: async () => { localStorage.removeItem(KEY); return true; },
  };
  const manager = (globalThis as any).PushManager.prototype;
  manager.getSubscription = async () => (localStorage.getItem(KEY) ? subscription : null);
  manager.subscribe = async ({ userVisibleOnly, applicationServerKey }: { userVisibleOnly: boolean; applicationServerKey: Uint8Array }) => {
    if (!userVisibleOnly) throw new Error("browsers ask for userVisibleOnly");
    const base64 = btoa(String.fromCharCode(...applicationServerKey));
    localStorage.setItem(KEY, base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", ""));
    return subscription;
  };
}
