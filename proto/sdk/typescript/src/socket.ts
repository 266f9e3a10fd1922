// One WebSocket at a time, and the question where to open it. A socket that was given up says nothing more.

import type { Located } from "./core/link.js";

// The part of the browsers' WebSocket that is used: also that of Node from 22 on, and of the package `ws`.
export interface SocketLike {
  binaryType: string;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  send(data: Uint8Array<ArrayBuffer>): void;
  close(): void;
}
export type SocketConstructor = new (url: string, protocols?: string | string[]) => SocketLike;

export interface SocketEvents {
  onOpened(): void;
  onBytes(bytes: Uint8Array): void;
  // Why there is no connection, where the platform tells: browsers do not. `onClosed` follows.
  onFailed(message: string): void;
  onClosed(): void;
}

// What is no packet, whatever it was.
const GARBAGE = new Uint8Array([0xff]);

export class Socket {
  private socket: SocketLike | null = null;

  constructor(
    private readonly constructor_: SocketConstructor,
    private readonly events: SocketEvents,
  ) {}

  open(url: string): void {
    this.close();
    let socket: SocketLike;
    try {
      socket = new this.constructor_(url, "gim");
    } catch (error) {
      // An address that is none, or one without TLS on a page with it.
      queueMicrotask(() => { this.events.onFailed(String(error)); this.events.onClosed(); });
      return;
    }
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    const isCurrent = () => this.socket === socket;
    socket.onopen = () => { if (isCurrent()) this.events.onOpened(); };
    socket.onmessage = ({ data }) => { if (isCurrent()) this.events.onBytes(data instanceof ArrayBuffer ? new Uint8Array(data) : GARBAGE); };
    socket.onerror = (event) => { if (isCurrent() && event?.message) this.events.onFailed(String(event.message)); };
    socket.onclose = () => {
      if (!isCurrent()) return;
      this.socket = null;
      this.events.onClosed();
    };
  }

  send(bytes: Uint8Array<ArrayBuffer>): void {
    try {
      this.socket?.send(bytes);
    } catch {
      // It is closing: `onclose` follows, and what was not answered is sent again.
    }
  }

  close(): void {
    const socket = this.socket;
    this.socket = null;
    try {
      socket?.close();
    } catch {
      // It was not open yet.
    }
  }
}

// Asks `GET /locate` at this address.
export async function locate(address: string, roomId: string, signal: AbortSignal): Promise<Located> {
  const url = new URL(address);
  url.searchParams.set("platform", "web");
  if (roomId !== "0") url.searchParams.set("room_id", roomId);
  const response = await fetch(url, { signal, cache: "no-store" });
  if (!response.ok) throw new Error(`Locate answers ${response.status}`);
  const { nodes, heartbeat_s, backoff } = await response.json();
  if (!Array.isArray(nodes)) throw new Error("Locate answers what is no list of nodes");
  const isSecurePage = globalThis.location?.protocol === "https:";
  const urls = nodes.map((node) => String(node?.wss || (!isSecurePage && node?.ws) || "")).filter((found) => /^wss?:/.test(found));
  const number = (value: unknown) => (Number.isFinite(value) ? Math.max(0, value as number) : 0);
  return { urls, heartbeatMs: 1000 * number(heartbeat_s), firstMs: number(backoff?.first_ms), maxMs: number(backoff?.max_ms) };
}
