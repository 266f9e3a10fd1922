// A business that keeps files in a bucket, against moto, a server of S3 from PyPI, which goes away and comes back, falls silent, and is slow.
// usage: bucket.mjs GIM_BUSINESS CONFIG DATA PORT_OFFSET LOGIC_URL PYTHON_FOLDER

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Upload } from "tus-js-client";

const [program, config, data, offset, logic, python] = process.argv.slice(2);
const business = `http://127.0.0.1:${8020 + Number(offset)}`;
const files = `http://127.0.0.1:${8023 + Number(offset)}`;
const s3 = `http://127.0.0.1:${8040 + Number(offset)}`;
const DEADLINE_MS = 60_000;
// Several parts of S3's multipart.
const BYTES = 20_000_000;

const processes = [];
process.on("exit", () => { for (const child of processes) child.kill("SIGKILL"); });

function start(command, args, env = {}) {
  const child = spawn(command, args, { stdio: "ignore", env: { ...process.env, ...env } });
  processes.push(child);
  return child;
}

async function answers(url, options) {
  for (const from = Date.now(); ; await sleep(50)) {
    assert.ok(Date.now() - from < DEADLINE_MS, `${url} does not answer`);
    if (await fetch(url, options).then((answer) => answer.ok, () => false)) return;
  }
}

async function startBucket() {
  const child = start(`${python}/venv/bin/moto_server`, ["-H", "127.0.0.1", "-p", new URL(s3).port]);
  await answers(`${s3}/moto-api/data.json`);
  // moto asks nobody who may make a bucket.
  const made = await fetch(`${s3}/gim-files`, { method: "PUT" });
  assert.ok(made.ok, `the bucket is answered ${made.status}`);
  return child;
}

// Between business and the bucket. It hands on all, or nothing at all, or lets nobody in, or hands on of an answer only its head, or what goes
// up so slowly that a part takes longer than any silence may. It notes which parts of S3's multipart come, and stops once at a request that
// `stopAt` names.
const SLOW_BYTES_PER_S = 400_000;
async function startProxy() {
  const proxy = { mode: "open", sockets: new Set(), parts: [], stopAt: undefined, stopped: undefined };
  const server = createServer((client) => {
    if (proxy.mode === "away") return client.destroy();
    const upstream = connect(Number(new URL(s3).port), "127.0.0.1");
    for (const socket of [client, upstream]) {
      proxy.sockets.add(socket);
      socket.on("error", () => socket.destroy());
      socket.on("close", () => { proxy.sockets.delete(socket); client.destroy(); upstream.destroy(); });
    }
    client.on("data", (bytes) => {
      if (proxy.mode === "silent") return;
      const head = bytes.toString("latin1", 0, 2000);
      if (proxy.stopAt?.test(head)) {
        Object.assign(proxy, { mode: "silent", parts: [], stopAt: undefined });
        return proxy.stopped();
      }
      const [, part] = /^PUT \S*[?&]partNumber=(\d+)/.exec(head) ?? [];
      if (part !== undefined) proxy.parts.push(part);
      upstream.write(bytes);
      if (proxy.mode !== "slow") return;
      client.pause();
      sleep(bytes.length / SLOW_BYTES_PER_S * 1000).then(() => client.resume());
    });
    upstream.on("data", (bytes) => {
      if (proxy.mode === "silent") return;
      const end = proxy.mode === "headless" ? bytes.indexOf("\r\n\r\n") + 4 : bytes.length;
      client.write(bytes.subarray(0, end));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  proxy.url = `http://127.0.0.1:${server.address().port}`;
  proxy.set = (mode) => { proxy.mode = mode; for (const socket of proxy.sockets) socket.destroy(); };
  return proxy;
}

async function startBusiness(redirects, endpoint = s3) {
  const child = start(program, ["--config", config, "--data", data, "--port-offset", offset], {
    GIM_BUSINESS_FILES__LISTEN: "127.0.0.1:8023", GIM_BUSINESS_LOGIC__ENDPOINT: logic, GIM_BUSINESS_FILES__BUCKET: "gim-files",
    GIM_BUSINESS_FILES__BUCKET_ENDPOINT: endpoint, GIM_BUSINESS_FILES__BUCKET_ACCESS_KEY_ID: "gim",
    GIM_BUSINESS_FILES__BUCKET_SECRET_ACCESS_KEY: "secret", GIM_BUSINESS_FILES__BUCKET_REDIRECTS: String(redirects),
  });
  await answers(`${files}/uploads`, { method: "OPTIONS" });
  return child;
}

async function stop(child) {
  child.kill("SIGKILL");
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

async function signIn(phoneNumber = "+8613900000001") {
  const body = JSON.stringify({ phoneNumber, code: "123456", device: { type: "DT_WEB" } });
  const answer = await fetch(`${business}/business.UserExtService/SignIn`, { method: "POST", headers: { "content-type": "application/json" }, body });
  assert.ok(answer.ok, `the sign-in is answered ${answer.status}`);
  const { userId, deviceId, token } = await answer.json();
  return { user_id: userId, device_id: deviceId, token };
}

const send = (name, body) => fetch(`${files}/files?name=${name}`, { method: "POST", headers, body });

async function listed(what) {
  const list = await (await fetch(`${s3}/gim-files?list-type=2`)).text();
  return [...list.matchAll(new RegExp(`<${what}>(.*?)</${what}>`, "g"))].map(([, value]) => value);
}

const objects = async () => (await listed("Key")).length;

let bucket = await startBucket();
let service = await startBusiness(false);
const headers = await signIn();
const bytes = randomBytes(BYTES);

const about = await (await send("sea.bin", bytes)).json();
assert.equal(await objects(), 1);
assert.ok(Buffer.from(await (await fetch(about.url)).arrayBuffer()).equals(bytes));
const part = await fetch(about.url, { headers: { range: "bytes=9000000-9000099" } });
assert.equal(part.status, 206);
assert.ok(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(9_000_000, 9_000_100)));
await send("again.bin", bytes);
assert.equal(await objects(), 1, "equal bytes are kept once");

// Clients read from the bucket, under the name and the kind that business knows.
await stop(service);
service = await startBusiness(true);
const moved = await fetch(about.url, { redirect: "manual" });
assert.equal(moved.status, 307);
assert.ok(moved.headers.get("location").startsWith(s3));
const direct = await fetch(about.url);
assert.equal(direct.headers.get("content-disposition"), 'attachment; filename="sea.bin"');
assert.ok(Buffer.from(await direct.arrayBuffer()).equals(bytes));

// An upload whose server is killed in its middle goes on, and comes into the bucket by S3's own multipart: the tag of such an object
// ends with how many parts it had.
await stop(service);
service = await startBusiness(false);
const large = randomBytes(BYTES);
let killed;
const resumed = await new Promise((resolve, reject) => {
  const upload = new Upload(large, {
    endpoint: `${files}/uploads`, headers, metadata: { filename: "large.bin" }, retryDelays: [100, 500, 1000, 2000, 3000, 5000],
    onProgress: (sent) => { if (sent > BYTES / 3) killed ??= stop(service).then(() => startBusiness(false)); },
    onError: reject, onSuccess: () => resolve(upload.url),
  });
  upload.start();
});
assert.ok(killed, "it was killed in the middle");
service = await killed;
const whole = await (await fetch(`${files}/files/${resumed.split("/").pop()}/about`, { headers })).json();
assert.equal(whole.sha256, createHash("sha256").update(large).digest("hex"));
assert.ok(Buffer.from(await (await fetch(whole.url)).arrayBuffer()).equals(large));
assert.deepEqual((await listed("ETag")).filter((tag) => /-3(&quot;|")$/.test(tag)).length, 2, "both files came in three parts");

// While the bucket is away nothing is half stored, and an upload by tus waits for it.
await stop(service);
service = await startBusiness(false);
await stop(bucket);
const refused = await send("refused.bin", "hello");
assert.deepEqual([refused.status, (await refused.json()).message], [503, "the store of files does not answer: try again later"]);
assert.equal((await fetch(about.url)).status, 503);
let comesBack;
const url = await new Promise((resolve, reject) => {
  const upload = new Upload(Buffer.from("waits"), {
    endpoint: `${files}/uploads`, headers, metadata: { filename: "waits.txt" }, retryDelays: [100, 500, 1000, 2000, 3000, 5000],
    onShouldRetry: () => { comesBack ??= startBucket(); return true; },
    onError: reject, onSuccess: () => resolve(upload.url),
  });
  upload.start();
});
bucket = await comesBack;
const waited = await (await fetch(`${files}/files/${url.split("/").pop()}/about`, { headers })).json();
assert.equal(await (await fetch(waited.url)).text(), "waits");
assert.equal(await objects(), 1, "of what was refused nothing is there");

// A bucket that is silent, or answers with a head and nothing behind it, has failed soon; it takes no memory, and nobody else waits for it.
await stop(service);
const proxy = await startProxy();
service = await startBusiness(false, proxy.url);

// A send to the bucket that is stopped at a request, and which parts come then: `again` is called when the client tries again.
const SECOND_PART = /^PUT \S*[?&]partNumber=2(&|\s)/;
const END = /^POST \S*[?&]uploadId=/;
async function stoppedAt(stopAt, stopped, again) {
  const large = randomBytes(BYTES);
  Object.assign(proxy, { stopAt, stopped });
  let tried;
  const url = await new Promise((resolve, reject) => {
    const upload = new Upload(large, {
      endpoint: `${files}/uploads`, headers, metadata: { filename: "large.bin" }, retryDelays: [100, 500, 1000, 2000, 3000, 5000, 5000],
      onShouldRetry: () => { tried ??= again(); return true; }, onError: reject, onSuccess: () => resolve(upload.url),
    });
    upload.start();
  });
  await tried;
  const stored = await (await fetch(`${files}/files/${url.split("/").pop()}/about`, { headers })).json();
  assert.equal(stored.sha256, createHash("sha256").update(large).digest("hex"));
  assert.ok(Buffer.from(await (await fetch(stored.url)).arrayBuffer()).equals(large));
  return proxy.parts;
}

async function unfinished() {
  const list = await (await fetch(`${s3}/gim-files?uploads`)).text();
  const all = (what) => [...list.matchAll(new RegExp(`<${what}>(.*?)</${what}>`, "g"))].map(([, value]) => value);
  const [keys, ids] = [all("Key"), all("UploadId")];
  return keys.map((key, index) => `${s3}/gim-files/${key}?uploadId=${encodeURIComponent(ids[index])}`);
}

// Over an outage and a kill the parts are sent that S3 does not have; where it forgot them, all are.
const goesAway = () => proxy.set("away");
assert.deepEqual(await stoppedAt(SECOND_PART, goesAway, () => proxy.set("open")), ["2", "3"], "over an outage");
let restarted;
const isKilled = () => { restarted = stop(service).then(() => { proxy.set("open"); return startBusiness(false, proxy.url); }); };
assert.deepEqual(await stoppedAt(SECOND_PART, isKilled, () => undefined), ["2", "3"], "over a kill");
assert.deepEqual(await unfinished(), []);
service = await restarted;
const isKilledAndForgotten = () => {
  restarted = stop(service).then(async () => {
    const [url, ...more] = await unfinished();
    assert.deepEqual(more, []);
    assert.ok((await fetch(url, { method: "DELETE" })).ok);
    proxy.set("open");
    return startBusiness(false, proxy.url);
  });
};
assert.deepEqual(await stoppedAt(END, isKilledAndForgotten, () => undefined), ["1", "2", "3"], "what S3 forgot");
service = await restarted;

// Of an upload that is given up S3 keeps no part.
Object.assign(proxy, { stopAt: SECOND_PART, stopped: goesAway });
const tus = { ...headers, "tus-resumable": "1.0.0" };
const begun = await fetch(`${files}/uploads`, { method: "POST", headers: { ...tus, "upload-length": String(BYTES) } });
const broken = await fetch(begun.headers.get("location"), {
  method: "PATCH", headers: { ...tus, "upload-offset": "0", "content-type": "application/offset+octet-stream" }, body: randomBytes(BYTES),
});
assert.equal(broken.status, 503);
proxy.set("open");
assert.equal((await unfinished()).length, 1);
assert.equal((await fetch(begun.headers.get("location"), { method: "DELETE", headers: tus })).status, 204);
for (const from = Date.now(); (await unfinished()).length > 0; await sleep(50)) assert.ok(Date.now() - from < DEADLINE_MS, "S3 keeps its parts");

const other = await signIn("+8613900000002");
const rssBytes = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${service.pid}/status`))[1]) * 1024;
const before = rssBytes();
// What was sent before went with the bucket that was stopped: this one keeps all in memory.
const kept = await (await send("kept.bin", bytes)).json();
const unanswered = "the store of files does not answer: try again later";
for (const mode of ["silent", "headless"]) {
  proxy.set(mode);
  const from = Date.now();
  const uploads = Array.from({ length: 8 }, (_, number) => send(`${number}`, randomBytes(9_000_000)));
  const refusals = Promise.all(uploads.map(async (sent) => {
    const answer = await sent;
    return [answer.status, (await answer.json()).message];
  }));
  // Bytes that came before what is missing are of no use: the client sees that they are too few.
  const downloads = Promise.all(Array.from({ length: 16 }, async () => {
    const answer = await fetch(kept.url);
    return answer.ok ? answer.arrayBuffer().then(() => "all of it", () => "too few") : answer.status;
  }));
  let asked = 0, longest = 0;
  const isOver = Promise.all([refusals, downloads]).then(() => true);
  while (!await Promise.race([isOver, sleep(200).then(() => false)])) {
    const at = Date.now();
    const head = { ...other, "tus-resumable": "1.0.0" };
    const begun = await fetch(`${files}/uploads`, { method: "POST", headers: { ...head, "upload-length": "1000" } });
    assert.equal(begun.status, 201);
    const part = await fetch(begun.headers.get("location"), {
      method: "PATCH", body: "a", headers: { ...head, "upload-offset": "0", "content-type": "application/offset+octet-stream" },
    });
    assert.equal(part.status, 204);
    assert.equal((await fetch(begun.headers.get("location"), { method: "DELETE", headers: head })).status, 204);
    longest = Math.max(longest, Date.now() - at);
    asked += 1;
  }
  for (const refusal of await refusals) assert.deepEqual(refusal, [503, unanswered], mode);
  for (const ended of await downloads) assert.equal(ended, mode === "silent" ? 503 : "too few", mode);
  assert.ok(asked > 0 && longest < 5_000, `others waited for ${longest} ms`);
  assert.ok(Date.now() - from < 120_000, `the ${mode} bucket was waited for for ${Date.now() - from} ms`);
  assert.ok(rssBytes() - before < 128 << 20, `business grew by ${rssBytes() - before} bytes`);
  proxy.set("open");
  assert.ok(Buffer.from(await (await fetch(kept.url)).arrayBuffer()).equals(bytes), `after the ${mode} bucket`);
}

// One that is only slow gets all, however long a part takes.
proxy.set("slow");
const slow = await send("slow.bin", randomBytes(8_000_000));
assert.equal(slow.status, 201);
proxy.set("open");
assert.equal((await fetch((await slow.json()).url)).status, 200);
console.log("a bucket: parts, ranges, URLs of its own, uploads and sends over a kill of the server, outages, silence and slowness");
process.exit(0);
