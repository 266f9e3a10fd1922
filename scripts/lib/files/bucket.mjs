// A business that keeps files in a bucket, against moto, a server of S3 from PyPI, which goes away and comes back.
// usage: bucket.mjs GIM_BUSINESS CONFIG DATA PORT_OFFSET LOGIC_URL PYTHON_FOLDER

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
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

async function startBusiness(redirects) {
  const child = start(program, ["--config", config, "--data", data, "--port-offset", offset], {
    GIM_BUSINESS_FILES__LISTEN: "127.0.0.1:8023", GIM_BUSINESS_LOGIC__ENDPOINT: logic, GIM_BUSINESS_FILES__BUCKET: "gim-files",
    GIM_BUSINESS_FILES__BUCKET_ENDPOINT: s3, GIM_BUSINESS_FILES__BUCKET_ACCESS_KEY_ID: "gim",
    GIM_BUSINESS_FILES__BUCKET_SECRET_ACCESS_KEY: "secret", GIM_BUSINESS_FILES__BUCKET_REDIRECTS: String(redirects),
  });
  await answers(`${files}/uploads`, { method: "OPTIONS" });
  return child;
}

async function stop(child) {
  child.kill("SIGKILL");
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

async function signIn() {
  const body = JSON.stringify({ phoneNumber: "+8613900000001", code: "123456", device: { type: "DT_WEB" } });
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
console.log("a bucket: parts, ranges, URLs of its own, an upload over a kill of the server, and an outage");
process.exit(0);
