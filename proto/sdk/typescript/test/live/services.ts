// The three services of gim as processes of the test, which it kills and starts again.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, rmSync } from "node:fs";
import http2 from "node:http2";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { create, fromBinary, toBinary, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import * as business from "../../src/generated/business_pb.js";

const READY_TIMEOUT_MS = 60_000;

export class Services {
  private readonly folder = mkdtempSync(join(tmpdir(), "gim-sdk-"));
  private readonly processes = new Map<string, ChildProcess>();

  constructor(
    private readonly programs: string,
    private readonly config: string,
    private readonly offset: number,
  ) {}

  port(base: number): number {
    return base + this.offset;
  }

  async startAll(): Promise<void> {
    for (const [name, port] of [["business", 8020], ["logic", 8010], ["conn", 8003]] as const) {
      this.start(name);
      await this.listens(port);
    }
    await this.listens(8012);
  }

  start(name: string): void {
    const log = openSync(join(this.folder, `${name}.log`), "a");
    const data = name === "conn" ? [] : ["--data", this.folder];
    const args = ["--config", join(this.config, `${name}.toml`), ...data, "--port-offset", String(this.offset)];
    const env = { ...process.env, GIM_LOGIC_GATEWAY__LISTEN: "127.0.0.1:8012" };
    this.processes.set(name, spawn(join(this.programs, `gim-${name}`), args, { stdio: ["ignore", log, log], env }));
  }

  async kill(name: string): Promise<void> {
    const child = this.processes.get(name)!;
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }

  async killAll(): Promise<void> {
    for (const name of this.processes.keys()) await this.kill(name);
    rmSync(this.folder, { recursive: true });
  }

  async listens(base: number): Promise<void> {
    const from = Date.now();
    for (;;) {
      const socket = net.connect(this.port(base), "127.0.0.1");
      const isOpen = await new Promise((resolve) => socket.on("connect", () => resolve(true)).on("error", () => resolve(false)));
      socket.destroy();
      if (isOpen) return;
      if (Date.now() - from > READY_TIMEOUT_MS) throw new Error(`nothing listens on port ${this.port(base)}; the logs are in ${this.folder}`);
      await sleep(50);
    }
  }

  // A user, a device and a token of gim's own business.
  async signIn(phoneNumber: string): Promise<{ userId: string; deviceId: string; token: string }> {
    const address = `http://127.0.0.1:${this.port(8020)}`;
    const fields = { phoneNumber, code: "123456", device: { type: 5 } };
    const reply = await grpc(address, "business.UserExtService/SignIn", business.SignInRequestSchema, fields, business.SignInReplySchema);
    return { userId: String(reply.userId), deviceId: String(reply.deviceId), token: reply.token };
  }
}

// One gRPC call: five bytes before the message, of which four are its length.
async function grpc<I extends DescMessage, O extends DescMessage>(address: string, method: string, input: I, fields: MessageInitShape<I>, output: O): Promise<MessageShape<O>> {
  const body = toBinary(input, create(input, fields));
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(body.length, 1);
  const session = http2.connect(address);
  try {
    const stream = session.request({ ":method": "POST", ":path": `/${method}`, "content-type": "application/grpc", te: "trailers" });
    stream.end(Buffer.concat([prefix, body]));
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    return fromBinary(output, Buffer.concat(chunks).subarray(5));
  } finally {
    session.close();
  }
}
