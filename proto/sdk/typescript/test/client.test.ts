// The client against servers that misbehave, stores that fail, and apps that throw.

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import "fake-indexeddb/auto";
import { WebSocket } from "ws";
import { Client, GimError, IndexedDbStore, LOCAL_CODE, MemoryStore, textOf, type ClientOptions, type Message } from "../src/index.js";
import { SyncReplySchema } from "../src/generated/logic_pb.js";
import { encode, PacketCommand } from "../src/wire.js";
import { answer, push, reply, Server, until, withClient } from "./server.js";

const rejections: unknown[] = [];
process.on("unhandledRejection", (error) => rejections.push(error));
after(() => assert.deepEqual(rejections, [], "rejections that nobody handles"));

describe("a server that misbehaves", () => {
  it("closes at once: the client comes back, later each time", async () => {
    const server = new Server(answer, (peer) => peer.terminate());
    await withClient(server, {}, async (client) => {
      await until(() => server.connections === 2);
      await until(() => client.state.name === "waiting");
      assert.ok(client.state.name === "waiting" && client.state.untilMs - Date.now() > 300);
    });
  });

  it("sends garbage: the client says so and comes back", async () => {
    const server = new Server(answer, (peer) => peer.send(Buffer.from("garbage, which is no packet")));
    await withClient(server, {}, async (_, seen, errors) => {
      await until(() => server.connections === 2);
      assert.deepEqual([seen.length, errors[0]], [0, "packet"]);
    });
  });

  it("sends text instead of bytes: so it does", async () => {
    const server = new Server(answer, (peer) => peer.send("<html>"));
    await withClient(server, {}, async (_, __, errors) => until(() => server.connections === 2 && errors[0] === "packet"));
  });

  it("never answers: the client gives the connection up and tries anew", async () => {
    const server = new Server(() => {});
    await withClient(server, { answerTimeoutMs: 100 }, async (_, __, errors) => until(() => server.connections === 2 && errors[0] === "answer"));
  });

  it("is not there: calls fail in time, and can be aborted", async () => {
    const server = new Server();
    const url = await server.url();
    server.close();
    await withClient(server, { url }, async (client) => {
      await assert.rejects(client.call("x/Y", new Uint8Array(), { timeoutMs: 50 }), (error: GimError) => error.code === LOCAL_CODE.TIMEOUT);
      const aborted = new AbortController();
      const answered = client.groups.get("9", { signal: aborted.signal });
      aborted.abort(new Error("enough"));
      await assert.rejects(answered, /enough/);
    });
  });
});

describe("a server in TLS", () => {
  it("whose certificate nobody knows is refused, and the reason told; one that the app knows is not", async () => {
    const folder = mkdtempSync(join(tmpdir(), "gim-certificate-"));
    const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
    const names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
    execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert, ...names], { stdio: "ignore" });
    const server = new Server();
    const https = createServer({ key: readFileSync(key), cert: readFileSync(cert) }).listen(0, "127.0.0.1");
    https.on("upgrade", (request, socket, head) => server.server.handleUpgrade(request, socket, head, (peer) => server.server.emit("connection", peer)));
    await once(https, "listening");
    const url = `wss://127.0.0.1:${(https.address() as AddressInfo).port}/ws`;
    const client = new Client({ userId: 7, deviceId: 70, getToken: () => "t", WebSocket: WebSocket as never, url });
    const reasons: string[] = [];
    client.on("error", ({ about, message }) => { reasons.push(`${about}: ${message}`); });
    client.start();
    await until(() => reasons.length > 0 && client.state.name === "waiting");
    await client.stop();
    assert.match(reasons[0]!, /^connection: .*certificate/);
    assert.equal(server.connections, 0);
    class Trusting extends WebSocket {
      constructor(address: string, protocols?: string | string[]) { super(address, protocols, { ca: readFileSync(cert) }); }
    }
    await withClient(server, { url, WebSocket: Trusting as never }, async (trusting) => until(() => trusting.state.name === "live"));
    https.close();
    rmSync(folder, { recursive: true });
  });
});

describe("tokens", () => {
  it("one that is refused is followed by a new one, and one that ran out by a new connection", async () => {
    let asked = 0;
    let sends = 0;
    const server = new Server((peer, command, requestId) => {
      if (command === PacketCommand.PC_SIGN_IN && asked === 1) reply(peer, command, requestId, 10000);
      else if (command === PacketCommand.PC_SEND && ++sends === 1) reply(peer, command, requestId, 10000);
      else answer(peer, command, requestId);
    });
    await withClient(server, { getToken: async ({ wasRefused }) => { asked += 1; return `${wasRefused}`; } }, async (client) => {
      let sent = 0;
      client.on("sent", () => { sent += 1; });
      client.send({ kind: "user", id: "8" }, "hi");
      await until(() => sent === 1);
      assert.deepEqual([asked, server.connections], [3, 2]);
    });
  });

  it("getToken that throws is asked again, and null ends the client", async () => {
    const answers = [() => { throw new Error("no network"); }, () => Promise.reject(new Error("still none")), () => null];
    await withClient(new Server(), { getToken: () => answers.shift()!() }, async (client, _, errors) => {
      await until(() => client.state.name === "ended");
      assert.deepEqual([client.state.name === "ended" && client.state.reason, errors], ["no_token", ["token", "token"]]);
    });
  });
});

describe("apps", () => {
  it("listeners that throw, at once or later, disturb nobody", async () => {
    const server = new Server((peer, command, requestId) => {
      answer(peer, command, requestId);
      if (command === PacketCommand.PC_SYNC) push(peer, 1, "one");
    });
    await withClient(server, {}, async (client, seen, errors) => {
      client.on("message", () => { throw new Error("a mistake of the app"); });
      client.on("message", async () => { throw new Error("another one"); });
      await until(() => seen.length === 1 && errors.length === 2);
      assert.deepEqual(errors, ["listener", "listener"]);
    });
  });

  it("text comes as it was sent: 60 KiB, markup, zero-width and control characters", async () => {
    const texts = ["x".repeat(60 * 1024), "<script>alert(1)</script>", "a\u200b\u202eb\u0000\u0007", "مرحبا 👩‍👩‍👧"];
    const server = new Server((peer, command, requestId) => {
      answer(peer, command, requestId);
      if (command === PacketCommand.PC_SYNC) texts.forEach((text, index) => push(peer, index + 1, text));
    });
    await withClient(server, {}, async (_, seen) => {
      await until(() => seen.length === texts.length);
      assert.deepEqual(seen.map(textOf), texts);
    });
  });

  it("ids that are none are refused at once", () => {
    for (const userId of [0, -1, 1.5, 2 ** 60, "7x", "", "9223372036854775808"]) {
      assert.throws(() => new Client({ userId, deviceId: 1, getToken: () => "t", url: "ws://x/ws", WebSocket: WebSocket as never }), /userId/);
    }
  });

  it("a signal stops it, and what waits is told", async () => {
    const stopping = new AbortController();
    await withClient(new Server(), { signal: stopping.signal }, async (client) => {
      await until(() => client.state.name === "live");
      const answered = client.request(1000, new Uint8Array());
      stopping.abort();
      await answered.catch(() => {});
      await until(() => client.state.name === "idle");
    });
  });
});

describe("stores", () => {
  const pushing = (texts: string[]) => new Server((peer, command, requestId) => {
    if (command !== PacketCommand.PC_SYNC) return answer(peer, command, requestId);
    reply(peer, command, requestId, 0, encode(SyncReplySchema, {}));
    texts.forEach((text, index) => push(peer, index + 1, text));
  });

  it("one that is full: the app sees everything all the same, and nothing is acknowledged", async () => {
    let acks = 0;
    class Full extends MemoryStore {
      override async apply(): Promise<Message[]> { throw new DOMException("full", "QuotaExceededError"); }
    }
    const server = new Server((peer, command, requestId) => {
      if (command === PacketCommand.PC_MESSAGE_ACK) acks += 1;
      answer(peer, command, requestId);
      if (command === PacketCommand.PC_SYNC) for (const seq of [1, 2]) push(peer, seq, "x");
    });
    await withClient(server, { store: new Full() }, async (_, seen, errors) => {
      await until(() => seen.length === 2);
      await sleep(2100);
      assert.deepEqual([acks, errors], [0, ["storage"]]);
    });
  });

  it("one that cannot be opened: so it is", async () => {
    class Broken extends MemoryStore {
      override async load(): Promise<never> { throw new Error("private window"); }
    }
    await withClient(pushing(["a"]), { store: new Broken() }, async (_, seen, errors) => {
      await until(() => seen.length === 1);
      assert.deepEqual(errors, ["storage"]);
    });
  });

  it("IndexedDB keeps messages, cursors and what is not sent, from one run to the next", async () => {
    const name = "kept";
    let unsent = "";
    const silent = new Server((peer, command, requestId) => {
      if (command === PacketCommand.PC_SEND) return;
      answer(peer, command, requestId);
      if (command === PacketCommand.PC_SYNC) push(peer, 1, "one");
    });
    await withClient(silent, { store: new IndexedDbStore(name) }, async (client, seen) => {
      unsent = client.send({ kind: "user", id: "8" }, "later");
      await until(() => seen.length === 1);
    });
    const repeated: string[] = [];
    const again = new Server((peer, command, requestId, content) => {
      if (command === PacketCommand.PC_SEND) repeated.push(new TextDecoder().decode(content));
      answer(peer, command, requestId);
      if (command === PacketCommand.PC_SYNC) for (const seq of [1, 2]) push(peer, seq, "again");
    });
    await withClient(again, { store: new IndexedDbStore(name) }, async (_, seen) => {
      await until(() => seen.length === 1 && repeated.length === 1);
      assert.equal(seen[0]!.seq, 2, "what was stored is not shown again");
      assert.ok(repeated[0]!.includes(unsent), "it has its client_msg_id still");
    });
    const stored = await new IndexedDbStore(name).messages({ kind: "user", id: "8" });
    assert.deepEqual(stored.map(({ seq }) => seq), [1, 2]);
    assert.deepEqual((await new IndexedDbStore(name).load()).outbox, []);
  });

  it("IndexedDB that is cleared meanwhile goes on, and what comes from then on is kept", async () => {
    const server = new Server((peer, command, requestId) => {
      answer(peer, command, requestId);
      if (command === PacketCommand.PC_SYNC) push(peer, 1, "before");
      if (command === 1000) push(peer, 2, "after");
    });
    await withClient(server, { store: new IndexedDbStore("cleared") }, async (client, seen, errors) => {
      await until(() => seen.length === 1);
      const deleted = indexedDB.deleteDatabase("cleared");
      await new Promise((resolve) => { deleted.onsuccess = resolve; });
      await client.request(1000, new Uint8Array());
      await until(() => seen.length === 2);
      assert.deepEqual(errors, []);
    });
    const store = new IndexedDbStore("cleared");
    assert.deepEqual((await store.messages({ kind: "user", id: "8" })).map(textOf), ["after"]);
    assert.equal((await store.load()).cursors.inbox, 2);
    store.close();
  });

  it("IndexedDB gives pages, and forgets what was recalled", async () => {
    const store = new IndexedDbStore("pages");
    const from = { userId: "8", deviceId: "80", nickname: "", avatarUrl: "", extra: "" };
    const message = (seq: number, more: Partial<Message> = {}): Message => ({
      messageId: String(seq), command: 1, content: new Uint8Array([seq]), status: "normal", seq, groupSeq: 0, roomSeq: 0, groupId: "0", roomId: "0",
      createdAtMs: 0, from, toUserId: "7", isOwn: false, clientMsgId: "", ...more,
    });
    const cursors = { inbox: 9, groups: new Map([["9", 3]]) };
    assert.equal((await store.apply([1, 2, 3, 4].map((seq) => message(seq)), cursors)).length, 4);
    const recall = message(5, { messageId: "2", status: "recalled", content: new Uint8Array(), from: null });
    assert.deepEqual((await store.apply([message(3), recall], cursors)).map(({ seq }) => seq), [5]);
    const page = await store.messages({ kind: "user", id: "8" }, 4, 2);
    assert.deepEqual(page.map(({ seq, status, content }) => [seq, status, content.length]), [[2, "recalled", 0], [3, "normal", 1]]);
    assert.deepEqual((await store.load()).cursors, cursors);
    await store.apply([message(6, { from: { ...from, userId: "9" }, createdAtMs: 1 })], cursors);
    const conversations = (await store.conversations()).map(({ target, newest }) => [target.kind, target.id, newest.seq]);
    assert.deepEqual(conversations, [["user", "9", 6], ["user", "8", 4]]);
    await store.forget({ kind: "user", id: "8" });
    assert.deepEqual([await store.message("1"), (await store.message("6"))?.seq], [null, 6]);
    assert.deepEqual((await store.conversations()).map(({ target }) => target.id), ["9"]);
    // What has no id is new each time and not kept; what does not say whom it was said to belongs to no conversation.
    const nameless = [message(7, { messageId: "0" }), message(8, { messageId: "0" })];
    assert.deepEqual((await store.apply(nameless, cursors)).map(({ seq }) => seq), [7, 8]);
    const placeless = [message(9, { isOwn: true, toUserId: "0" }), message(10, { from: { ...from, userId: "0" } })];
    assert.deepEqual((await store.apply(placeless, cursors)).map(({ seq }) => seq), [9, 10]);
    assert.deepEqual((await store.conversations()).map(({ target }) => target.id), ["9"]);
    assert.deepEqual([await store.message("0"), (await store.message("9"))?.seq], [null, 9]);
  });
});

// The part of the Web Locks API that is used: Node 20 has none.
function provideLocks(): void {
  const tails = new Map<string, Promise<unknown>>();
  const request = (name: string, { signal }: { signal: AbortSignal }, body: () => Promise<void>) => {
    const turn = (tails.get(name) ?? Promise.resolve()).then(() => (signal.aborted ? Promise.reject(signal.reason) : body()));
    tails.set(name, turn.catch(() => {}));
    return turn;
  };
  Object.defineProperty(globalThis, "navigator", { value: { locks: { request } }, configurable: true });
}

describe("several tabs with one store", () => {
  it("share one connection, see the same, and the next takes over", async () => {
    provideLocks();
    const server = new Server((peer, command, requestId, content) => {
      if (command === 1000) return reply(peer, command, requestId, 0, content.length > 100 ? new Uint8Array() : new TextEncoder().encode("answer"));
      answer(peer, command, requestId);
      if (command === PacketCommand.PC_SYNC) push(peer, server.connections, `message ${server.connections}`);
    });
    const options: ClientOptions = { userId: 7, deviceId: 70, getToken: () => "t", url: await server.url(), WebSocket: WebSocket as never };
    const [one, other] = [1, 2].map(() => new Client({ ...options, store: new IndexedDbStore("tabs") })) as [Client, Client];
    const seen: { [tab: string]: string[] } = { one: [], other: [] };
    let sent = 0;
    one.on("message", (message) => { seen.one!.push(textOf(message)); });
    other.on("message", (message) => { seen.other!.push(textOf(message)); });
    other.on("sent", () => { sent += 1; });
    try {
      one.start();
      other.start();
      await until(() => one.state.name === "live" && other.state.name === "live");
      await until(() => seen.one!.length === 1 && seen.other!.length === 1);
      assert.equal(server.connections, 1);
      other.send({ kind: "user", id: "8" }, "from the other tab");
      await until(() => sent === 1);
      assert.equal(new TextDecoder().decode(await other.request(1000, new Uint8Array())), "answer");
      await one.stop();
      await until(() => seen.other!.length === 2 && other.state.name === "live");
      assert.deepEqual([server.connections, seen.other], [2, ["message 1", "message 2"]]);
    } finally {
      await one.stop();
      await other.stop();
      server.close();
    }
  });

  it("wake each other: where one is shown again, the connection of the other is tried at once", async () => {
    provideLocks();
    const shown: (() => void)[] = [];
    Object.assign(globalThis, { addEventListener: (name: string, listener: () => void) => { if (name === "pageshow") shown.push(listener); }, removeEventListener: () => {} });
    let heartbeats = 0;
    const server = new Server((peer, command, requestId) => {
      if (command === PacketCommand.PC_HEARTBEAT) heartbeats += 1;
      answer(peer, command, requestId);
    });
    await withClient(server, { store: new IndexedDbStore("woken") }, async (client) => {
      await until(() => client.state.name === "live" && heartbeats === 1);
      const other = new Client({ userId: 7, deviceId: 70, getToken: () => "t", url: await server.url(), WebSocket: WebSocket as never, store: new IndexedDbStore("woken") });
      other.start();
      await until(() => other.state.name === "live");
      shown[1]!();
      await until(() => heartbeats === 2);
      assert.equal(server.connections, 1);
      await other.stop();
    });
    Object.assign(globalThis, { addEventListener: undefined, removeEventListener: undefined });
  });

  it("take no notice of what a tab of another version says that they do not know", async () => {
    provideLocks();
    let entered = 0;
    const server = new Server((peer, command, requestId) => {
      if (command === PacketCommand.PC_SUBSCRIBE_ROOM) entered += 1;
      answer(peer, command, requestId);
    });
    const store = new IndexedDbStore("versions");
    await withClient(server, { store }, async (client) => {
      client.enterRoom("5");
      await until(() => client.state.name === "live" && entered === 1);
      const stranger = new BroadcastChannel(store.name);
      const heard = new Promise<void>((resolve) => { stranger.onmessage = () => resolve(); });
      for (const kind of ["unheard of", "hello"]) stranger.postMessage({ kind });
      await heard;
      stranger.close();
      client.leaveRoom();
      await until(() => entered === 2);
    });
  });
});
