// The three services of gim as processes of the test, which it kills and starts again.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const READY_TIMEOUT_MS = 60_000;

export class Services {
  private readonly folder = mkdtempSync(join(tmpdir(), "gim-sdk-"));
  private readonly processes = new Map<string, ChildProcess>();

  constructor(
    private readonly programs: string,
    private readonly config: string,
    private readonly offset: number,
    // Where the chat page connects: through a gate of the test.
    private readonly connect: () => string,
  ) {
    // Whatever ends the test leaves none of them behind.
    process.on("exit", () => { for (const child of this.processes.values()) child.kill("SIGKILL"); });
  }

  // Where pages of the test are.
  get pageOrigin(): string {
    return `http://127.0.0.1:${this.port(8031)}`;
  }

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

  // With more settings, as variables, than it has in any case.
  start(name: string, settings: Record<string, string> = {}): void {
    const log = openSync(join(this.folder, `${name}.log`), "a");
    const data = name === "conn" ? [] : ["--data", this.folder];
    const args = ["--config", join(this.config, `${name}.toml`), ...data, "--port-offset", String(this.offset)];
    const env = { ...process.env, GIM_LOGIC_CLIENTS__ORIGINS: `["${this.pageOrigin}"]`, GIM_BUSINESS_WEB__LISTEN: "127.0.0.1:8022", GIM_BUSINESS_FILES__LISTEN: "127.0.0.1:8023", GIM_BUSINESS_WEB__CONNECT: this.connect(), ...settings };
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

  async signIn(phoneNumber: string): Promise<Identity> {
    return signIn(`http://127.0.0.1:${this.port(8012)}`, phoneNumber);
  }

  // As a backend takes back all tokens of a user.
  async revoke(userId: string): Promise<void> {
    await post(`http://127.0.0.1:${this.port(8020)}/business.UserIntService/RevokeTokens`, { userId });
  }
}

export interface Identity {
  userId: string;
  deviceId: string;
  token: string;
}

// A user, a device and a token of gim's own business.
export async function signIn(server: string, phoneNumber: string): Promise<Identity> {
  return post(`${server}/business.UserExtService/SignIn`, { phoneNumber, code: "123456", device: { type: "DT_WEB" } }) as Promise<Identity>;
}

// A call in JSON.
export async function post(url: string, fields: object): Promise<unknown> {
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(fields) });
  if (!response.ok) throw new Error(`${url} answers ${response.status} ${await response.text()}`);
  return response.json();
}
