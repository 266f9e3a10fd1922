// A TCP proxy that can cut its connections, and pretend to be there while nothing passes.

import net from "node:net";
import { once } from "node:events";

export class Gate {
  private readonly sockets = new Set<net.Socket>();
  private readonly server: net.Server;
  port = 0;
  // Nothing passes, and nothing closes.
  isMute = false;
  // Connections are closed as soon as they are made.
  isShut = false;

  constructor(private readonly target: number) {
    this.server = net.createServer((near) => this.serve(near));
  }

  async open(): Promise<void> {
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
    this.port = (this.server.address() as net.AddressInfo).port;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/ws`;
  }

  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  close(): void {
    this.cut();
    this.server.close();
  }

  private serve(near: net.Socket): void {
    if (this.isShut) {
      near.destroy();
      return;
    }
    const far = net.connect(this.target, "127.0.0.1");
    for (const [from, to] of [[near, far], [far, near]] as const) {
      this.sockets.add(from);
      from.on("data", (chunk) => { if (!this.isMute) to.write(chunk); });
      from.on("error", () => {});
      from.on("close", () => {
        this.sockets.delete(from);
        if (!this.isMute) to.destroy();
      });
    }
  }
}
