// tus-js-client from npm, and Node's HTTP/2, against a business of its own, which is killed in the middle of an upload and started again.
// usage: client.mjs GIM_BUSINESS CONFIG DATA PORT_OFFSET LOGIC_URL

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";
import { Upload } from "tus-js-client";

const [program, config, data, offset, logic] = process.argv.slice(2);
const business = `http://127.0.0.1:${8020 + Number(offset)}`;
const files = `http://127.0.0.1:${8023 + Number(offset)}`;
const DEADLINE_MS = 60_000;
const BYTES = 40_000_000;

let service;
process.on("exit", () => service?.kill("SIGKILL"));

async function start(settings = {}) {
  const env = {
    ...process.env, GIM_BUSINESS_FILES__LISTEN: "127.0.0.1:8023", GIM_BUSINESS_LOGIC__ENDPOINT: logic, ...settings,
  };
  service = spawn(program, ["--config", config, "--data", data, "--port-offset", offset], { stdio: "ignore", env });
  for (const from = Date.now(); ; await sleep(50)) {
    assert.ok(Date.now() - from < DEADLINE_MS && service.exitCode === null, "business does not start");
    if (await fetch(`${files}/uploads`, { method: "OPTIONS" }).then((answer) => answer.ok, () => false)) return;
  }
}

async function signIn(phoneNumber) {
  const body = JSON.stringify({ phoneNumber, code: "123456", device: { type: "DT_WEB" } });
  const answer = await fetch(`${business}/business.UserExtService/SignIn`, { method: "POST", headers: { "content-type": "application/json" }, body });
  assert.ok(answer.ok, `the sign-in is answered ${answer.status}`);
  const { userId, deviceId, token } = await answer.json();
  return { user_id: userId, device_id: deviceId, token };
}

// Uploads; `onFirst` is called once, after some of it was sent.
function upload(bytes, headers, onFirst = () => {}, options = {}) {
  return new Promise((resolve, reject) => {
    let isFirst = true;
    const upload = new Upload(bytes, {
      endpoint: `${files}/uploads`, headers, metadata: { filename: "sea & 度假.bin", filetype: "application/octet-stream" },
      retryDelays: [100, 200, 500, 1000, 2000, 3000, 5000, 10_000],
      onProgress: (sent) => { if (isFirst && sent > bytes.length / 3) { isFirst = false; onFirst(); } },
      onError: reject,
      onSuccess: () => resolve(upload.url), ...options,
    });
    upload.start();
  });
}

async function check(url, headers, bytes) {
  const about = await (await fetch(`${files}/files/${url.split("/").pop()}/about`, { headers })).json();
  const hash = createHash("sha256").update(bytes).digest("hex");
  assert.deepEqual([about.name, about.size_bytes, about.sha256], ["sea & 度假.bin", bytes.length, hash]);
  const read = Buffer.from(await (await fetch(about.url)).arrayBuffer());
  assert.ok(read.equals(bytes), "what comes back is what was sent");
}

// Over HTTP/2, several at a time on one connection.
async function overHttp2(headers) {
  const session = connect(files);
  const ask = async (head, body) => {
    const stream = session.request(head);
    const answered = once(stream, "response");
    stream.end(body);
    const [answer] = await answered;
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    return { status: answer[":status"], body: Buffer.concat(chunks) };
  };
  const sent = [1, 2, 3].map((byte) => Buffer.alloc(3_000_000, byte));
  await Promise.all(sent.map(async (bytes, number) => {
    const stored = await ask({ ...headers, ":method": "POST", ":path": `/files?name=${number}` }, bytes);
    assert.equal(stored.status, 201);
    const url = new URL(JSON.parse(stored.body).url);
    const read = await ask({ ":path": url.pathname + url.search });
    assert.deepEqual([read.status, read.body.equals(bytes)], [200, true]);
  }));
  session.close();
}

// A connection of HTTP/2 on which transfers stall ends, whatever else goes over it; and no address has more of them than its share.
async function stallOverHttp2(headers) {
  const about = await (await fetch(`${files}/files?name=a`, { method: "POST", headers, body: Buffer.alloc(3_000_000, 1) })).json();
  const url = new URL(about.url);
  const session = connect(files, { settings: { initialWindowSize: 1_000 } });
  session.on("error", () => {});
  const ended = once(session, "close");
  const pings = setInterval(() => { for (let count = 0; count < 100; count += 1) session.ping(() => {}); }, 20);
  const stalled = Array.from({ length: 4 }, () => session.request({ ":path": url.pathname + url.search }));
  for (const stream of stalled) stream.on("error", () => {});
  const heads = await Promise.all(stalled.map((stream) => once(stream, "response")));
  assert.deepEqual(heads.map(([head]) => head[":status"]), [200, 200, 200, 200]);
  const beyond = session.request({ ":path": url.pathname + url.search });
  beyond.on("error", () => {});
  const [refused] = await once(beyond, "response");
  assert.deepEqual([refused[":status"], refused["retry-after"]], [503, "1"]);
  const isLate = sleep(DEADLINE_MS, true, { ref: false });
  assert.ok(await Promise.race([ended.then(() => false), isLate]) === false, "it is still there");
  clearInterval(pings);
}

await start({ GIM_BUSINESS_FILES__IDLE_TIMEOUT_MS: "2000", GIM_BUSINESS_FILES__CONNECTIONS_PER_ADDRESS_MAX: "4" });
await stallOverHttp2(await signIn("+8613900000003"));
service.kill("SIGKILL");
await once(service, "exit");
await start();
const headers = await signIn("+8613900000001");
await overHttp2(headers);
const small = Buffer.from("hello");
await check(await upload(small, headers), headers, small);
await check(await upload(small, headers, () => {}, { overridePatchMethod: true }), headers, small);

const bytes = randomBytes(BYTES);
let restarted;
const url = await upload(bytes, headers, () => {
  service.kill("SIGKILL");
  restarted = once(service, "exit").then(() => start());
});
assert.ok(restarted, "it was killed in the middle");
await restarted;
await check(url, headers, bytes);

await assert.rejects(upload(bytes, { ...headers, token: "wrong" }), /401/);
console.log("tus-js-client: uploads, over a kill of the server as well; and files over HTTP/2, where those that stall end");
process.exit(0);
