// Runs the core: with a socket, a clock and a store. Of several tabs with one store, one has an engine.

import { Core } from "./core/core.js";
import type { Located } from "./core/link.js";
import type { Action, Answer, CoreEvent, CoreSettings, Cursors, Remembered } from "./core/types.js";
import type { Message } from "./message.js";
import { Socket, type SocketConstructor } from "./socket.js";
import type { Store } from "./storage/store.js";

const TIMER_MAX_MS = 2 ** 31 - 1;
const LOCATE_TIMEOUT_MS = 9000;

export interface EngineOptions {
  settings: CoreSettings;
  store: Store;
  webSocket: SocketConstructor;
  getToken: (why: { wasRefused: boolean }) => Promise<string | null> | string | null;
  locate: (roomId: string, signal: AbortSignal) => Promise<Located>;
  onEvent: (event: CoreEvent) => void;
  onMessage: (message: Message) => void;
  onAnswer: (requestId: string, answer: Answer) => void;
}

export class Engine {
  private core: Core | null = null;
  private early: ((core: Core, nowMs: number) => void)[] = [];
  private readonly socket: Socket;
  private timer: ReturnType<typeof setTimeout> | undefined;
  // What is to be stored or shown, one after the other.
  private tail: Promise<void> = Promise.resolve();
  private isStoring = true;
  private isStopped = false;
  private locating: AbortController | undefined;

  constructor(private readonly options: EngineOptions) {
    this.socket = new Socket(options.webSocket, {
      onOpened: () => this.run((core, nowMs) => core.onOpened(nowMs)),
      onBytes: (bytes) => this.run((core, nowMs) => core.onBytes(bytes, nowMs)),
      onFailed: (message) => { if (!this.isStopped) options.onEvent({ type: "error", about: "connection", message }); },
      onClosed: () => this.run((core, nowMs) => core.onClosed(nowMs)),
    });
    void this.load();
  }

  private async load(): Promise<void> {
    let remembered: Remembered = { cursors: { inbox: null, groups: new Map() }, outbox: [], delivered: [] };
    try {
      remembered = await this.options.store.load();
    } catch (error) {
      this.storeFailed(error);
    }
    if (this.isStopped) return;
    this.core = new Core(this.options.settings, remembered, now());
    const early = this.early;
    this.early = [];
    for (const step of early) this.run(step);
  }

  // Everything that happens goes through here.
  run(step: (core: Core, nowMs: number) => void): void {
    if (this.isStopped) return;
    if (!this.core) {
      this.early.push(step);
      return;
    }
    step(this.core, now());
    for (const action of this.core.poll()) this.perform(action);
    this.setTimer(this.core);
  }

  // Ends for good. What is delivered already is still stored and shown.
  async stop(): Promise<void> {
    this.run((core) => core.stop());
    this.isStopped = true;
    this.locating?.abort();
    clearTimeout(this.timer);
    this.socket.close();
    await this.tail;
  }

  private setTimer(core: Core): void {
    clearTimeout(this.timer);
    const deadline = core.deadlineMs;
    if (deadline === Infinity || this.isStopped) return;
    const waitMs = Math.min(Math.max(0, Math.ceil(deadline - now())), TIMER_MAX_MS);
    this.timer = setTimeout(() => this.run((late, nowMs) => late.advance(nowMs)), waitMs);
  }

  private perform(action: Action): void {
    if (action.type === "packet") this.socket.send(action.bytes);
    else if (action.type === "connect") this.socket.open(action.url);
    else if (action.type === "disconnect") this.socket.close();
    else if (action.type === "get_token") void this.getToken(action.wasRefused);
    else if (action.type === "locate") void this.locate(action.roomId);
    else if (action.type === "answer") this.options.onAnswer(action.requestId, action.answer);
    else if (action.type === "deliver") this.later(() => this.deliver(action.messages, action.cursors));
    else if (action.type === "remember_send") this.later(() => this.store((store) => store.rememberSend(action.send)));
    else if (action.type === "forget_send") this.later(() => this.store((store) => store.forgetSend(action.clientMsgId)));
    else this.later(async () => this.options.onEvent(action.event));
  }

  // In the order in which it was asked for, so that an event never comes before the messages that were delivered before it.
  private later(step: () => Promise<void>): void {
    this.tail = this.tail.then(step).catch((error) => this.options.onEvent({ type: "error", about: "client", message: String(error) }));
  }

  private async deliver(messages: Message[], cursors: Cursors): Promise<void> {
    let added = messages;
    await this.store(async (store) => { added = await store.apply(messages, cursors); });
    for (const message of added) this.options.onMessage(message);
    if (this.isStoring) this.run((core, nowMs) => core.onStored(cursors, nowMs));
  }

  private async store(step: (store: Store) => Promise<void>): Promise<void> {
    if (!this.isStoring) return;
    try {
      await step(this.options.store);
    } catch (error) {
      this.storeFailed(error);
    }
  }

  // Were storing to go on, there would be a hole: so everything from here on comes again in the next run.
  private storeFailed(error: unknown): void {
    this.isStoring = false;
    this.options.onEvent({ type: "error", about: "storage", message: String(error) });
  }

  private async getToken(wasRefused: boolean): Promise<void> {
    try {
      const token = await this.options.getToken({ wasRefused });
      this.run((core, nowMs) => core.onToken(token ?? null, nowMs));
    } catch (error) {
      this.run((core, nowMs) => core.onFailed("token", String(error), nowMs));
    }
  }

  private async locate(roomId: string): Promise<void> {
    const locating = (this.locating = new AbortController());
    const timer = setTimeout(() => locating.abort(new Error("no answer came in time")), LOCATE_TIMEOUT_MS);
    try {
      const located = await this.options.locate(roomId, locating.signal);
      this.run((core, nowMs) => core.onLocated(located, nowMs));
    } catch (error) {
      this.run((core, nowMs) => core.onFailed("locate", String(error), nowMs));
    } finally {
      clearTimeout(timer);
    }
  }
}

// Never goes back, and is about the time of day.
export function now(): number {
  return performance.timeOrigin + performance.now();
}
