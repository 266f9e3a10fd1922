// Files as an app sends them: to a server of the test that breaks off as often as it is told.

import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, it } from "node:test";
import { fileIdOf, FileRefused, Files } from "../src/files.js";
import { GimError } from "../src/index.js";

const ID = "0123456789abcdef0123456789abcdef";
const TEXT = "what is in the file, for some requests of ten bytes";

class FileServer {
  received = Buffer.alloc(0);
  length = 0;
  asked: string[] = [];
  names: string[] = [];
  tokens = new Set(["good"]);
  // What is done to the next requests with bytes, one after another.
  faults: ("cut" | "silent" | "503" | "423" | "413")[] = [];
  // The same of downloads: of one that is cut behind its first bytes `cut` ends the connection.
  readFaults: ("headless" | "cut" | "silent" | "503")[] = [];
  cut = () => {};
  // From which byte on they were asked for.
  ranges: string[] = [];
  // In the URLs that are given away.
  signature = "good";

  async with(body: (files: Files, server: FileServer) => Promise<void>): Promise<void> {
    const server = createServer((request, response) => void this.answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    let asked = 0;
    const getToken = ({ wasRefused }: { wasRefused: boolean }) => {
      asked += 1;
      if (asked === 1) throw new Error("nobody gives tokens now");
      return wasRefused ? "good" : "old";
    };
    try {
      await body(new Files({ url, userId: 7n, deviceId: 1n, getToken, chunkBytes: 10, silenceMaxMs: 1_000 }), this);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (request.url!.includes("signature=")) return this.read(request, response);
    const { user_id, device_id, token } = request.headers;
    assert.deepEqual([user_id, device_id], ["7", "1"]);
    const end = (status: number, headers: Record<string, string> = {}, json?: unknown) => response.writeHead(status, headers).end(json === undefined ? undefined : JSON.stringify(json));
    if (!this.tokens.has(String(token))) return void end(401, {}, { code: 10000, message: "please sign in again" });
    this.asked.push(request.method!);
    if (request.method === "POST") {
      this.length = Number(request.headers["upload-length"]);
      this.names.push(Buffer.from(String(request.headers["upload-metadata"]).split(" ")[1] ?? "", "base64").toString());
      return void end(201, { location: `http://elsewhere/uploads/${ID}` });
    }
    if (request.method === "HEAD") return void end(200, { "upload-offset": String(this.received.length), "upload-length": String(this.length) });
    if (request.method === "DELETE") return void end(204);
    if (request.method === "GET") return void end(200, {}, { file_id: ID, name: "a", kind: "text/plain", size_bytes: this.length, sha256: "00", state: "good", url: urlOf(this.signature), thumbnail_url: urlOf(this.signature, "/thumbnail"), expires_at_ms: 5 });
    const fault = this.faults.shift();
    if (fault === "cut") {
      this.received = Buffer.concat([this.received, Buffer.concat(chunks).subarray(0, 3)]);
      return void request.socket.destroy();
    }
    if (fault === "silent") return;
    if (fault !== undefined) return void end(Number(fault), {}, { code: 10004, message: `fault ${fault}` });
    assert.equal(Number(request.headers["upload-offset"]), this.received.length);
    this.received = Buffer.concat([this.received, ...chunks]);
    end(204, { "upload-offset": String(this.received.length) });
  }

  private read(request: IncomingMessage, response: ServerResponse): void {
    assert.deepEqual([request.method, request.headers["token"]], ["GET", undefined]);
    this.ranges.push(request.headers.range ?? "");
    const end = (status: number, headers: Record<string, string> = {}) => response.writeHead(status, headers).end(JSON.stringify({ code: 10006, message: `status ${status}` }));
    if (!request.url!.includes(`signature=good`)) return void end(403);
    const content = Buffer.from(request.url!.includes("/thumbnail?") ? "small" : TEXT);
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "bytes=0-")?.[1]);
    if (from >= content.length) return void end(416, { "content-range": `bytes */${content.length}` });
    const fault = this.readFaults.shift();
    if (fault === "503") return void end(503);
    response.writeHead(from > 0 ? 206 : 200, { "content-length": String(content.length - from) });
    if (fault === "headless") {
      response.flushHeaders();
      return void setImmediate(() => request.socket.destroy());
    }
    if (fault === undefined) return void response.end(content.subarray(from));
    response.write(content.subarray(from, from + 10));
    if (fault === "cut") this.cut = () => request.socket.destroy();
  }
}

function urlOf(signature: string, part = ""): string {
  return `http://x/files/${ID}${part}?expires=1&signature=${signature}`;
}

describe("files", () => {
  it("are uploaded over breaks, and tell how far they are", async () => {
    await new FileServer().with(async (files, server) => {
      server.faults = ["cut", "503", "423", "silent"];
      const told: number[] = [];
      let begun = "";
      const info = await files.upload(new Blob([TEXT]), { name: "度假.txt", onProgress: (sent) => told.push(sent), onBegun: (url) => { begun = url; } });
      assert.equal(server.received.toString(), TEXT);
      assert.deepEqual([info.fileId, info.kind, info.sizeBytes, info.width, info.expiresAtMs], [ID, "text/plain", TEXT.length, 0, 5]);
      assert.deepEqual([told[0], told.at(-1), server.names[0]], [0, TEXT.length, "度假.txt"]);
      assert.deepEqual(told, told.toSorted((one, other) => one - other));
      assert.equal(fileIdOf(begun), ID);
    });
  });

  it("go on where an earlier upload was stopped", async () => {
    await new FileServer().with(async (files, server) => {
      const stop = new AbortController();
      let url = "";
      const stopped = files.upload(new Blob([TEXT]), { signal: stop.signal, onBegun: (begun) => { url = begun; }, onProgress: (sent) => { if (sent >= 20) stop.abort(); } });
      await assert.rejects(stopped, { name: "AbortError" });
      assert.equal(server.received.length, 20);
      await assert.rejects(files.upload(new Blob([`${TEXT}.`]), { resume: url }), GimError);
      await files.upload(new Blob([TEXT]), { resume: url });
      assert.equal(server.received.toString(), TEXT);
      assert.equal(server.asked.filter((method) => method === "POST").length, 1);
    });
  });

  it("are refused with the code and the sentence of the server", async () => {
    await new FileServer().with(async (files, server) => {
      server.faults = ["413"];
      await assert.rejects(files.upload(new Blob([TEXT])), (error) => error instanceof GimError && error.code === 10004 && error.message.endsWith("fault 413"));
      await assert.rejects(files.upload(new Blob([])), GimError);
    });
  });

  it("are known by any URL of theirs, and by no other", async () => {
    for (const good of [ID, `http://x/files/${ID}?expires=1&signature=a`, `https://x/gim/files/${ID}/thumbnail?expires=1`, `http://x/uploads/${ID}`]) assert.equal(fileIdOf(good), ID);
    for (const bad of ["", "http://x/", `http://x/files/${ID}0`, ID.toUpperCase()])
      assert.throws(() => fileIdOf(bad), TypeError);
    await new FileServer().with(async (files, server) => {
      assert.equal((await files.about(`http://old/files/${ID}?expires=1`)).url, urlOf("good"));
      await files.giveUp(`http://127.0.0.1:1/uploads/${ID}`);
      assert.deepEqual(server.asked, ["GET", "DELETE"]);
    });
  });

  it("are waited for as long as the server works at them", async () => {
    await new FileServer().with(async (files, server) => {
      // More often than anything else is tried again.
      server.faults = Array.from({ length: 9 }, () => "423" as const);
      await files.upload(new Blob(["hello"]));
      assert.equal(server.received.toString(), "hello");
    });
  });

  it("are read over breaks and by new URLs, and tell how far they are", async () => {
    await new FileServer().with(async (files, server) => {
      server.readFaults = ["headless", "503", "cut", "silent"];
      const [parts, told]: [Uint8Array[], number[]] = [[], []];
      const onProgress = (read: number, total: number) => {
        assert.equal(total, TEXT.length);
        told.push(read);
        if (read >= 10) server.cut();
      };
      const count = await files.download(urlOf("old"), async (bytes) => void parts.push(bytes), { onProgress });
      assert.deepEqual([count, Buffer.concat(parts).toString()], [TEXT.length, TEXT]);
      // The old URL, one that is good, two tries, and what is left behind each part.
      assert.deepEqual(server.ranges, ["", "", "", "", "bytes=10-", "bytes=20-"]);
      assert.deepEqual([told.toSorted((one, other) => one - other), told.at(-1)], [told, TEXT.length]);
      assert.equal(await (await files.read(ID)).text(), TEXT);
      assert.equal(await (await files.read(urlOf("old", "/thumbnail"))).text(), "small");
    });
  });

  it("are read on where an earlier download was stopped", async () => {
    await new FileServer().with(async (files, server) => {
      const [stop, parts]: [AbortController, Uint8Array[]] = [new AbortController(), []];
      server.readFaults = ["silent"];
      const stopped = files.download(urlOf("good"), (bytes) => { parts.push(bytes); stop.abort(); }, { signal: stop.signal });
      await assert.rejects(stopped, { name: "AbortError" });
      const from = Buffer.concat(parts).length;
      assert.equal(await files.download(urlOf("good"), (bytes) => parts.push(bytes), { from }), TEXT.length);
      assert.deepEqual([Buffer.concat(parts).toString(), server.ranges], [TEXT, ["", "bytes=10-"]]);
      const nothing = () => assert.fail("all of it is there");
      assert.equal(await files.download(urlOf("good"), nothing, { from: TEXT.length }), TEXT.length);
      await assert.rejects(files.download(urlOf("good"), nothing, { from: TEXT.length + 1 }), (error) => error instanceof FileRefused && error.status === 416);
      await assert.rejects(files.download(urlOf("good"), nothing, { signal: stop.signal }), { name: "AbortError" });
    });
  });

  it("are not read where the server refuses, or who writes them fails", async () => {
    await new FileServer().with(async (files, server) => {
      const full = new TypeError("the disk is full");
      await assert.rejects(files.download(urlOf("good"), () => { throw full; }), full);
      assert.equal(server.ranges.length, 1);
      server.signature = "bad";
      await assert.rejects(files.read(urlOf("old")), (error) => error instanceof FileRefused && error.status === 403);
      assert.equal(server.ranges.length, 3, "the old URL, and a new one once");
    });
  });
});
