// What an app uses.

import type { DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { encodeContent, type ContentFields, type ContentKind } from "./content.js";
import { LOCAL_CODE, type AppRequest } from "./core/requests.js";
import type { Answer, CoreEvent, PendingSend, State } from "./core/types.js";
import { Engine, now } from "./engine.js";
import { Emitter, type ClientEvents } from "./events.js";
import { encodeCall } from "./call.js";
import type { Message } from "./message.js";
import { locate, type SocketConstructor } from "./socket.js";
import { MemoryStore, type Store } from "./storage/store.js";
import { Tabs, type Note } from "./tabs.js";
import { CODE, decode, encode, type Id, type Target } from "./wire.js";
import { conversationChangeOf, Conversations, readMarkOf } from "./services/conversations.js";
import { Devices } from "./services/devices.js";
import { Friends, Users } from "./services/friends.js";
import { Groups } from "./services/groups.js";
import { History } from "./services/history.js";
import { Rooms } from "./services/rooms.js";

const PC_CALL = 10;
const REQUEST_TIMEOUT_MS = 30_000;
const ANSWER_TIMEOUT_MS = 20_000;

export interface ClientOptions {
  userId: Id;
  // Each device of a user has a number of its own, and keeps it.
  deviceId: Id;
  // Asked at each sign-in, and when a token was refused. null: there is none, the client ends. What it throws is tried again later.
  getToken: (why: { wasRefused: boolean }) => Promise<string | null> | string | null;
  // Where to connect: one address, as in "wss://chat.example.com/ws" …
  url?: string;
  // … or where to ask for the best one, as in "https://chat.example.com/locate".
  locate?: string;
  // What the client remembers between two runs; nothing without it.
  store?: Store & { name?: string };
  // Where a device without a cursor begins: where the user's other devices are, or with the first message that is kept.
  startAt?: "devices" | "first";
  appId?: number;
  // Needed where there is no global one, as in Node 20: that of the package `ws`.
  WebSocket?: SocketConstructor;
  // How often to send a heartbeat; without it as often as Locate says.
  heartbeatMs?: number;
  // How long an answer may take until the connection is taken for dead.
  answerTimeoutMs?: number;
  // Stops the client when it is aborted.
  signal?: AbortSignal;
}

export interface RequestOptions {
  timeoutMs?: number;
  signal?: AbortSignal;
  // Whether it may be sent again where nobody knows if it was done; reads are without being asked.
  isRepeatable?: boolean;
}

// A refusal, by a code of the server or of the backend. Codes below 0 are the client's own (`LOCAL_CODE`).
export class GimError extends Error {
  constructor(
    readonly code: number,
    message: string,
  ) {
    super(`${code} ${message}`);
    this.name = "GimError";
  }
}

interface Pending {
  resolve: (data: Uint8Array) => void;
  reject: (error: unknown) => void;
  end: () => void;
}

export class Client {
  readonly userId: string;
  readonly deviceId: string;
  readonly conversations = new Conversations(this);
  readonly groups = new Groups(this);
  readonly friends = new Friends(this);
  readonly devices = new Devices(this);
  readonly users = new Users(this);
  readonly history = new History(this);
  readonly rooms = new Rooms(this);
  private readonly emitter = new Emitter();
  private readonly store: Store & { name?: string };
  private readonly webSocket: SocketConstructor;
  private readonly tabId = randomId().slice(0, 8);
  private readonly pending = new Map<string, Pending>();
  private nextId = 1;
  private engine: Engine | null = null;
  private tabs: Tabs | null = null;
  private currentState: State = { name: "idle" };
  private wanted = { roomId: "0", fromStart: false };

  constructor(private readonly options: ClientOptions) {
    this.userId = checkedId("userId", options.userId);
    this.deviceId = checkedId("deviceId", options.deviceId);
    this.store = options.store ?? new MemoryStore();
    if (options.url === undefined && options.locate === undefined) throw new TypeError("url or locate must be set");
    const webSocket = options.WebSocket ?? (globalThis.WebSocket as SocketConstructor | undefined);
    if (!webSocket) throw new TypeError("this platform has no WebSocket: pass one, for instance that of the package ws");
    this.webSocket = webSocket;
    options.signal?.addEventListener("abort", () => void this.stop());
  }

  get state(): State {
    return this.currentState;
  }

  // Returns what takes the listener away again.
  on<Name extends keyof ClientEvents>(name: Name, listener: (event: ClientEvents[Name]) => void | Promise<void>): () => void {
    return this.emitter.on(name, listener);
  }

  // Connects, and stays connected until `stop`, or until the server sends the client away.
  start(): void {
    if (this.options.signal?.aborted) return;
    if (this.tabs) {
      if (this.engine) this.engine.run((core, nowMs) => core.start(nowMs));
      else this.tabs.tell({ kind: "start" });
      return;
    }
    this.tabs = new Tabs(this.store.name, (note) => this.onNote(note));
    this.tabs.join(() => this.lead());
    this.tabs.tell({ kind: "hello" });
    listenToPage("add", this.nudge);
  }

  // Ends everything that waits. What is not sent yet stays in the store.
  async stop(): Promise<void> {
    const { engine, tabs } = this;
    this.engine = null;
    this.tabs = null;
    listenToPage("remove", this.nudge);
    if (engine) await engine.stop();
    tabs?.leave();
    for (const requestId of [...this.pending.keys()]) this.settle(requestId, local(LOCAL_CODE.STOPPED, "the client was stopped"));
    this.onEvent({ type: "state", state: { name: "idle" } });
    this.store.close();
  }

  // Sends a message. It is repeated until it is answered, whatever happens to the connection: `sent` or `failed` says how it ended, and
  // with a store that may be in a later run. Returns its client_msg_id, by which these events name it.
  send(target: Target, content: string | Uint8Array, options: { command?: number; clientMsgId?: string } = {}): string {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    const { command = 0, clientMsgId = randomId() } = options;
    const to = { kind: target.kind, id: checkedId("target", target.id) };
    const send: PendingSend = { clientMsgId, target: to, command, content: bytes, createdAtMs: now() };
    if (this.engine) this.engine.run((core, nowMs) => core.send(send, nowMs));
    else this.sendThroughOthers(send);
    return clientMsgId;
  }

  // Sends one of the contents that every chat needs, as `send` does: `sendContent(target, "text", { text: "hello" })`.
  sendContent<K extends ContentKind>(target: Target, kind: K, fields: ContentFields<K>, options: { clientMsgId?: string } = {}): string {
    const { command, content } = encodeContent(kind, fields);
    return this.send(target, content, { ...options, command });
  }

  private sendThroughOthers(send: PendingSend): void {
    const stored = this.store.rememberSend(send).catch((error) => this.emitter.emit("error", { about: "storage", message: String(error) }));
    void stored.then(() => {
      if (this.engine) this.engine.run((core, nowMs) => core.send(send, nowMs));
      else this.tabs?.tell({ kind: "send", send });
    });
  }

  // A room is for one connection at a time: entering another one leaves it. It is entered again after each reconnect.
  enterRoom(roomId: Id, options: { fromStart?: boolean } = {}): void {
    this.room(checkedId("roomId", roomId), options.fromStart ?? false);
  }

  leaveRoom(): void {
    this.room("0", false);
  }

  private room(roomId: string, fromStart: boolean): void {
    this.wanted = { roomId, fromStart };
    if (this.engine) this.engine.run((core, nowMs) => core.enterRoom(roomId, fromStart, nowMs));
    else this.tabs?.tell({ kind: "room", roomId, fromStart });
  }

  // A packet with a command of your own (from 1000 on), which your backend answers.
  request(command: number, content: Uint8Array, options: RequestOptions = {}): Promise<Uint8Array> {
    const requestId = `${this.tabId}-${this.nextId++}`;
    const timeoutMs = options.timeoutMs ?? REQUEST_TIMEOUT_MS;
    const request: AppRequest = { requestId, command, content, isRepeatable: options.isRepeatable ?? false, deadlineMs: now() + timeoutMs };
    const answered = new Promise<Uint8Array>((resolve, reject) => this.expect(requestId, timeoutMs, options.signal, resolve, reject));
    // Whoever does not wait for it need not know.
    answered.catch(() => {});
    if (!this.pending.has(requestId)) return answered;
    if (this.engine) this.engine.run((core, nowMs) => core.request(request, nowMs));
    else if (this.tabs?.areShared) this.tabs.tell({ kind: "request", request });
    else this.settle(requestId, local(LOCAL_CODE.STOPPED, "the client is not started"));
    return answered;
  }

  // A method of an *ExtService by its name, as in "logic.GroupExtService/Create", with the bytes of its request.
  call(method: string, body: Uint8Array, options: RequestOptions = {}): Promise<Uint8Array> {
    return this.request(PC_CALL, encodeCall(method, body), options);
  }

  // The same with the types of generated code, as in `rpc(GroupExtService.method.create, { … })`.
  async rpc<M extends DescMethodUnary>(method: M, fields: MessageInitShape<M["input"]>, options: RequestOptions = {}): Promise<MessageShape<M["output"]>> {
    const isRepeatable = options.isRepeatable ?? /^(Get|List|History|Search|Count)/.test(method.name);
    const body = encode(method.input, fields as MessageInitShape<M["input"]>);
    const data = await this.call(`${method.parent.typeName}/${method.name}`, body, { ...options, isRepeatable });
    return decode(method.output, data) as MessageShape<M["output"]>;
  }

  private expect(requestId: string, timeoutMs: number, signal: AbortSignal | undefined, resolve: Pending["resolve"], reject: Pending["reject"]): void {
    const abort = () => {
      this.pending.get(requestId)?.end();
      this.engine?.run((core) => core.cancel(requestId));
      reject(signal?.reason);
    };
    if (signal?.aborted) return reject(signal.reason);
    // The core has this deadline too; but another tab, which has the connection, may be gone.
    const timer = setTimeout(() => this.settle(requestId, local(LOCAL_CODE.TIMEOUT, "no answer came in time")), timeoutMs + 1000);
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      this.pending.delete(requestId);
    };
    signal?.addEventListener("abort", abort);
    this.pending.set(requestId, { resolve, reject, end });
  }

  private settle(requestId: string, answer: Answer): void {
    const pending = this.pending.get(requestId);
    if (!pending) return;
    pending.end();
    if (answer.code === CODE.OK) pending.resolve(answer.data);
    else pending.reject(new GimError(answer.code, answer.message));
  }

  // This tab has the connection from here on.
  private lead(): void {
    const { options } = this;
    const settings = {
      userId: this.userId, deviceId: this.deviceId, appId: options.appId ?? 0, url: options.url ?? null, heartbeatMs: options.heartbeatMs ?? null,
      answerTimeoutMs: options.answerTimeoutMs ?? ANSWER_TIMEOUT_MS, startAt: options.startAt ?? "devices", random: Math.random,
    } as const;
    this.engine = new Engine({
      settings, store: this.store, webSocket: this.webSocket, getToken: options.getToken,
      locate: (roomId, signal) => locate(options.locate ?? "", roomId, signal),
      onEvent: (event) => { this.onEvent(event); this.tabs?.tell({ kind: "event", event }); },
      onMessage: (message) => { this.onMessage(message); this.tabs?.tell({ kind: "message", message }); },
      onAnswer: (requestId, answer) => this.onAnswer(requestId, answer),
    });
    const { roomId, fromStart } = this.wanted;
    this.engine.run((core, nowMs) => core.enterRoom(roomId, fromStart, nowMs));
    this.engine.run((core, nowMs) => core.start(nowMs));
  }

  private onAnswer(requestId: string, answer: Answer): void {
    if (requestId.startsWith(this.tabId)) this.settle(requestId, answer);
    else this.tabs?.tell({ kind: "answer", requestId, answer: { code: answer.code, message: answer.message, data: answer.data } });
  }

  private onMessage(message: Message): void {
    const change = conversationChangeOf(message);
    const mark = readMarkOf(message);
    if (change) this.emitter.emit("conversation", change);
    else if (mark) this.emitter.emit("read", mark);
    else this.emitter.emit("message", message);
  }

  private onEvent(event: CoreEvent): void {
    const { type, ...fields } = event;
    if (event.type !== "state") this.emitter.emit(type, fields as never);
    else if (event.state.name !== "idle" || this.currentState.name !== "idle") {
      this.currentState = event.state;
      this.emitter.emit("state", event.state);
    }
  }

  private onNote(note: Note): void {
    if (note.kind === "message") this.onMessage(note.message);
    else if (note.kind === "event") this.onEvent(note.event);
    else if (note.kind === "answer") this.settle(note.requestId, note.answer);
    else if (!this.engine) return;
    else if (note.kind === "hello") this.onHello(note.isBack === true);
    else if (note.kind === "start") this.engine.run((core, nowMs) => core.start(nowMs));
    else if (note.kind === "send") this.engine.run((core, nowMs) => core.send(note.send, nowMs));
    else if (note.kind === "request") this.engine.run((core, nowMs) => core.request(note.request, nowMs));
    else if (note.kind === "room") this.engine.run((core, nowMs) => core.enterRoom(note.roomId, note.fromStart, nowMs));
  }

  private onHello(isBack: boolean): void {
    this.tabs?.tell({ kind: "event", event: { type: "state", state: this.currentState } });
    if (isBack) this.engine?.run((core, nowMs) => core.nudge(nowMs));
  }

  private readonly nudge = (): void => {
    if (globalThis.document?.visibilityState === "hidden") return;
    if (this.engine) this.engine.run((core, nowMs) => core.nudge(nowMs));
    else this.tabs?.tell({ kind: "hello", isBack: true });
  };
}

function listenToPage(what: "add" | "remove", listener: () => void): void {
  const method = `${what}EventListener` as const;
  globalThis[method]?.("online", listener);
  globalThis[method]?.("pageshow", listener);
  globalThis.document?.[method]("visibilitychange", listener);
}

function local(code: number, message: string): Answer {
  return { code, message, data: new Uint8Array() };
}

function checkedId(name: string, id: Id): string {
  const text = String(id);
  if (!/^[1-9]\d{0,18}$/.test(text) || BigInt(text) >= 2n ** 63n || (typeof id === "number" && !Number.isSafeInteger(id))) {
    throw new TypeError(`${name} must be a whole number from 1 to 2^63 - 1; above 2^53 as a string or a BigInt`);
  }
  return text;
}

// A UUID. Browsers have `crypto.randomUUID` on pages with TLS only.
function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
