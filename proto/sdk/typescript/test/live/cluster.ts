// `scripts/cluster` as a process of the test, which kills its nodes: each is started again by the script.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const READY_TIMEOUT_MS = 120_000;
// Where each node says that it is ready.
const ADMIN: { [node: string]: [host: string, port: number] } = {
  "conn-1": ["127.0.0.1", 8001], "conn-2": ["127.0.0.2", 8001], "logic-1": ["127.0.0.1", 8011], "logic-2": ["127.0.0.2", 8011], business: ["127.0.0.1", 8021],
};
export const NODES = Object.keys(ADMIN);

export class Cluster {
  private readonly folder = mkdtempSync(join(tmpdir(), "gim-sdk-cluster-"));
  private readonly script: ChildProcess;
  private output = "";

  constructor(root: string, programs: string, private readonly offset: number) {
    const args = ["--keep-up", "--bin", programs, "--data", this.folder, "--port-offset", String(offset)];
    this.script = spawn(join(root, "scripts/cluster"), args, { stdio: ["ignore", "pipe", "inherit"] });
    this.script.stdout!.on("data", (chunk) => { this.output += chunk; });
    // Whatever ends the test leaves none of them behind.
    process.on("exit", () => this.script.kill("SIGKILL"));
  }

  // `number` is that of the node: 1 or 2.
  address(number: number, port: number): string {
    return `127.0.0.${number}:${port + this.offset}`;
  }

  async isUp(): Promise<void> {
    await this.until("the cluster is ready", async () => {
      if (this.script.exitCode !== null) throw new Error("the cluster did not start");
      return this.output.includes("gim is ready");
    });
  }

  // Ends a node, and waits until another process has its place and serves.
  async kill(node: string): Promise<void> {
    const pid = this.pid(node);
    process.kill(pid, "SIGKILL");
    await this.until(`${node} is there again`, async () => this.pid(node) !== pid && (await this.isReady(node)));
  }

  // In order: it fails where a service does not end well.
  async stop(): Promise<void> {
    this.script.kill("SIGTERM");
    if (this.script.exitCode === null && this.script.signalCode === null) await once(this.script, "exit");
    if (this.script.exitCode !== 0) throw new Error(`the cluster did not stop well; its logs are in ${this.folder}/logs`);
    rmSync(this.folder, { recursive: true });
  }

  private pid(node: string): number {
    return Number(readFileSync(join(this.folder, "pids", node), "utf8"));
  }

  private async isReady(node: string): Promise<boolean> {
    const [host, port] = ADMIN[node]!;
    return fetch(`http://${host}:${port + this.offset}/readyz`).then(({ ok }) => ok, () => false);
  }

  private async until(what: string, condition: () => Promise<boolean>): Promise<void> {
    for (const from = Date.now(); !(await condition()); await sleep(50)) {
      if (Date.now() - from > READY_TIMEOUT_MS) throw new Error(`it takes too long until ${what}; the logs are in ${this.folder}/logs`);
    }
  }
}
