// Two users and a third device against real services, while these are killed and the network is cut, or dies without a word: every
// message is seen once, and in order.
//
// Usage: node live.js PROGRAMS CONFIG PORT_OFFSET

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { MemoryStore, textOf } from "../../src/index.js";
import { inBrowser } from "./browser.js";
import { Gate } from "./gate.js";
import { onThePage } from "./page.js";
import { Services } from "./services.js";
import { inTheBackground } from "./waking.js";
import { until, Watched } from "./watched.js";

const MESSAGES = 60;

process.on("unhandledRejection", (error) => {
  console.error("a rejection that nobody handles:", error);
  process.exit(1);
});

const [programs, config, offset] = process.argv.slice(2) as [string, string, string];
const gate = new Gate(8003 + Number(offset));
const services = new Services(programs, config, Number(offset), () => gate.url);

async function chat(): Promise<void> {
  const [one, two, third] = await Promise.all([services.signIn("+8613900000001"), services.signIn("+8613900000002"), services.signIn("+8613900000001")]);
  assert.equal(one.userId, third.userId, "the third device is of the first user");
  const token = (who: { token: string }) => ({ getToken: async () => who.token });
  const alice = new Watched("alice", { ...one, ...token(one), url: gate.url });
  const phone = new Watched("alice's phone", { ...third, ...token(third), locate: `http://127.0.0.1:${services.port(8012)}/locate` });
  let bob = new Watched("bob", { ...two, ...token(two), url: gate.url, store: new MemoryStore() });
  await until("all are connected", () => [alice, phone, bob].every(({ client }) => client.state.name === "live"));
  const expected = { alice: [] as string[], bob: [] as string[] };
  const talk = async (from: number, to: number) => {
    for (let index = from; index < to; index++) {
      for (const [who, peer, name] of [[alice, two.userId, "alice"], [bob, one.userId, "bob"]] as const) {
        const text = `${name} ${index} <b>&amp;</b> مرحبا 👋`;
        expected[name].push(text);
        who.client.send({ kind: "user", id: peer }, text);
      }
      await sleep(15);
    }
  };
  const faults: [string, () => Promise<void>][] = [
    ["nothing happens", async () => {}],
    ["logic is killed", async () => { await services.kill("logic"); await sleep(300); services.start("logic"); await services.listens(8010); }],
    ["conn is killed", async () => { await services.kill("conn"); await sleep(300); services.start("conn"); await services.listens(8003); }],
    ["the network is cut", async () => { gate.isShut = true; gate.cut(); await sleep(1000); gate.isShut = false; }],
    ["the network is half open", async () => { gate.isMute = true; await sleep(4000); gate.isMute = false; }],
    ["all is killed", async () => {
      for (const name of ["conn", "logic", "business"]) await services.kill(name);
      await services.startAll();
    }],
  ];
  for (const [index, [name, fault]] of faults.entries()) {
    await Promise.all([talk(index * MESSAGES, (index + 1) * MESSAGES), fault()]);
    await until(`everything is answered after: ${name}`, () => [alice, bob].every(({ outcomes }) => outcomes.size === (index + 1) * MESSAGES));
    const inTheEnd = () => [alice, phone, bob].every((who) => who.texts(one.userId).length === expected.alice.length && who.texts(two.userId).length === expected.bob.length);
    await until(`everything is seen after: ${name}`, inTheEnd).catch((error) => {
      for (const who of [alice, phone, bob]) console.error(who.name, who.client.state, who.texts(one.userId).length, who.texts(two.userId).length);
      throw error;
    });
    for (const who of [alice, phone, bob]) {
      assert.deepEqual(who.texts(one.userId), expected.alice, `${who.name}, after: ${name}`);
      assert.deepEqual(who.texts(two.userId), expected.bob, `${who.name}, after: ${name}`);
      who.checkInbox();
    }
    assert.deepEqual([...new Set([...alice.outcomes.values(), ...bob.outcomes.values()])], ["sent"]);
    console.log(`live: ${name}: every message once and in order`);
  }
  await replaced(bob, two, gate.url);
  bob = new Watched("bob", { ...two, ...token(two), url: gate.url });
  await until("a device without memory has everything", () => bob.texts(one.userId).length === expected.alice.length);
  await inARoom(alice, bob);
  await onThePage(services, gate);
  await inBrowser(services, await services.signIn("+8613900000005"), bob.client);
  await inTheBackground(services, bob.client);
  await Promise.all([alice, phone, bob].map(({ client }) => client.stop()));
}

// The same device signs in elsewhere: the first connection ends, and stays away.
async function replaced(other: Watched, who: { userId: string; deviceId: string; token: string }, url: string): Promise<void> {
  const again = new Watched("bob again", { ...who, getToken: () => who.token, url });
  await until("the first one is replaced", () => other.client.state.name === "ended" && again.client.state.name === "live");
  assert.equal(other.client.state.name === "ended" && other.client.state.reason, "replaced");
  await again.client.stop();
  await other.client.stop();
}

async function inARoom(alice: Watched, bob: Watched): Promise<void> {
  const entered = new Set<string>();
  for (const who of [alice, bob]) who.client.on("room", ({ state }) => { entered.add(`${who.name} ${state}`); });
  for (const { client } of [alice, bob]) client.enterRoom(5);
  await until("both are in the room", () => entered.size === 2);
  alice.client.send({ kind: "room", id: "5" }, "hello, room");
  const heard = (who: Watched) => who.seen.filter((message) => message.roomId === "5").map(textOf);
  await until("both hear it", () => heard(alice).length === 1 && heard(bob).length === 1);
  assert.deepEqual(heard(bob), ["hello, room"]);
  console.log("live: a room is heard by all who are in it");
}

// What the README promises, for users and an address of this server.
async function tenLines(): Promise<void> {
  const root = fileURLToPath(new URL("../../../", import.meta.url));
  let code = readFileSync(`${root}../README.md`, "utf8").match(/^```js\n(.*?)^```$/ms)![1]!;
  const [one, two] = await Promise.all([services.signIn("+8613900000003"), services.signIn("+8613900000004")]);
  const replaced = { "userId: 7, deviceId: 70": `userId: "${one.userId}", deviceId: "${one.deviceId}"`, "ws://127.0.0.1:8003/ws": `ws://127.0.0.1:${services.port(8003)}/ws`, '"ticket for 7"': JSON.stringify(one.token), 'id: "8"': `id: "${two.userId}"` };
  for (const [from, to] of Object.entries(replaced)) {
    assert.ok(code.includes(from), `the README has no ${from}`);
    code = code.replace(from, to);
  }
  writeFileSync(`${root}build/ten-lines.mjs`, code);
  const program = spawn(process.execPath, [`${root}build/ten-lines.mjs`], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  program.stdout.on("data", (chunk) => { output += chunk; });
  await until("the ten lines print the message", () => output.includes("\n")).finally(() => program.kill());
  assert.equal(output, `${one.userId} hello\n`);
  console.log("live: the ten lines of the README send their message");
}

try {
  await gate.open();
  await services.startAll();
  await tenLines();
  await chat();
} catch (error) {
  console.error("live:", error);
  process.exitCode = 1;
} finally {
  gate.close();
  await services.killAll();
}
process.exit();
