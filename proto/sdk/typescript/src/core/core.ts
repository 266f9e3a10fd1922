// The client without its sockets, clocks and stores: events come in as calls with the present time, actions go out by `poll`, and
// `deadlineMs` says when to call `advance`. Nothing here waits or throws, whatever the server sends.

import {
  CloseNoticeSchema, CloseReason, MessageSchema, SendReplySchema, SignInRequestSchema, SubscribeRoomRequestSchema, type Packet, type Reply,
} from "../generated/connect_pb.js";
import { MessageACKRequestSchema, SyncReplySchema, SyncRequestSchema } from "../generated/logic_pb.js";
import type { Message } from "../message.js";
import { CODE, CONTENT_BYTES_MAX, decode, decodePacket, decodeReply, encode, encodePacket, encodeSend, isPutOff, PacketCommand } from "../wire.js";
import { Backoff } from "./backoff.js";
import { Link, RATE_LIMITED_WAIT_MS, type Located } from "./link.js";
import { Outbox } from "./outbox.js";
import { LOCAL_CODE, Requests, type AppRequest } from "./requests.js";
import { Room } from "./room.js";
import { Timelines } from "./timelines.js";
import type { Action, CoreEvent, CoreSettings, Cursors, EndReason, PendingSend, Remembered } from "./types.js";

const ACK_DELAY_MS = 2000;
// After the network came back, an answer to the heartbeat that asks whether the connection is alive.
const PROBE_TIMEOUT_MS = 5000;
// Syncs in a row that bring nothing of what was promised.
const EMPTY_SYNCS_MAX = 3;
// As long as servers recognise a client_msg_id: what is older might be delivered twice.
const OUTBOX_AGE_MAX_MS = 7 * 24 * 3600 * 1000;
const ROOM_RETRY_MS = 1000;

const END_REASONS: { [reason: number]: EndReason } = {
  [CloseReason.CR_REPLACED]: "replaced",
  [CloseReason.CR_KICKED]: "kicked",
  [CloseReason.CR_TOKEN_REVOKED]: "token_revoked",
};

// What is under way and is the client's own.
type Own = { what: "sign_in" | "heartbeat" | "sync"; deadlineMs: number } | { what: "room"; roomId: string; deadlineMs: number } | { what: "send"; clientMsgId: string; deadlineMs: number }
  | { what: "request"; deadlineMs: number };

export class Core {
  private actions: Action[] = [];
  private readonly link: Link;
  private readonly timelines: Timelines;
  private readonly outbox: Outbox;
  private readonly requests: Requests;
  private readonly room = new Room();
  private readonly underWay = new Map<string, Own>();
  private readonly syncPause: Backoff;
  private nextId = 1;
  private isOpen = false;
  private heartbeatAtMs = Infinity;
  private isSyncing = false;
  private syncAtMs = 0;
  private emptySyncs = 0;
  private isCatchingUp = false;
  private ackAtMs = Infinity;
  private stored: Cursors;
  private acknowledged: Cursors;
  private delivered: Cursors;

  constructor(
    private readonly settings: CoreSettings,
    remembered: Remembered,
    nowMs: number,
  ) {
    const { cursors, delivered } = remembered;
    this.link = new Link(settings, (action) => this.actions.push(action), () => this.room.roomId);
    this.stored = copyOf(cursors);
    this.delivered = copyOf(cursors);
    this.acknowledged = { inbox: null, groups: new Map() };
    this.timelines = new Timelines(settings.userId, settings.startAt, copyOf(cursors), delivered);
    this.requests = new Requests((requestId, answer) => this.actions.push({ type: "answer", requestId, answer }));
    this.syncPause = new Backoff(2000, 30_000, settings.random);
    this.outbox = new Outbox(remembered.outbox.filter((send) => nowMs - send.createdAtMs < OUTBOX_AGE_MAX_MS), settings.random);
    for (const send of remembered.outbox) if (!this.outbox.has(send.clientMsgId)) this.fail(send, LOCAL_CODE.TIMEOUT, "it waited for more than seven days");
  }

  // What is to be done, in this order.
  poll(): Action[] {
    const actions = this.actions;
    this.actions = [];
    return actions;
  }

  // When to call `advance`; Infinity for never.
  get deadlineMs(): number {
    const isLive = this.link.phase === "live";
    const times = [this.link.phaseDeadlineMs, this.requests.deadlineMs(isLive)];
    for (const own of this.underWay.values()) times.push(own.deadlineMs);
    if (isLive) {
      times.push(this.heartbeatAtMs, this.ackAtMs, this.outbox.deadlineMs, this.room.retryAtMs);
      if (!this.isSyncing && this.timelines.wantsSync) times.push(this.syncAtMs);
    }
    return Math.min(...times);
  }

  start(nowMs: number): void {
    if (this.link.phase === "idle" || this.link.phase === "ended") this.link.attempt(nowMs);
  }

  stop(): void {
    this.disconnect();
    this.requests.stop();
    if (this.link.phase !== "idle") this.link.stop();
  }

  // The network or the page came back.
  nudge(nowMs: number): void {
    this.link.nudge(nowMs);
    if (this.link.phase === "live") this.heartbeat(nowMs, Math.min(PROBE_TIMEOUT_MS, this.settings.answerTimeoutMs));
  }

  // What `get_token` asked for; null where there is none.
  onToken(token: string | null, nowMs: number): void {
    const signInWith = this.link.onToken(token, nowMs, this.isOpen);
    if (signInWith !== null) this.signIn(signInWith, nowMs);
    else if (token === null) this.disconnected();
  }

  onLocated(located: Located, nowMs: number): void {
    this.link.onLocated(located, nowMs);
  }

  // The token or the addresses could not be had.
  onFailed(about: "token" | "locate", message: string, nowMs: number): void {
    if (this.link.phase !== about) return;
    this.error(about, message);
    this.breakOff(nowMs);
  }

  onOpened(nowMs: number): void {
    const token = this.link.onOpened();
    if (token === null) return;
    this.isOpen = true;
    this.signIn(token, nowMs);
  }

  // The connection ended, or could not be opened.
  onClosed(nowMs: number): void {
    this.disconnected();
    this.link.onFailed(nowMs);
  }

  onBytes(bytes: Uint8Array, nowMs: number): void {
    if (!this.isOpen) return;
    try {
      this.onPacket(decodePacket(bytes), nowMs);
    } catch {
      this.error("packet", "the server sent what is no packet");
      this.breakOff(nowMs);
    }
    this.pump(nowMs);
  }

  // What `deliver` gave is stored and shown.
  onStored(cursors: Cursors, nowMs: number): void {
    this.stored = copyOf(cursors);
    if (this.ackAtMs === Infinity && this.hasToAcknowledge) this.ackAtMs = nowMs + ACK_DELAY_MS;
  }

  send(send: PendingSend, nowMs: number): void {
    if (this.outbox.has(send.clientMsgId)) return;
    if (send.content.length > CONTENT_BYTES_MAX) return this.fail(send, LOCAL_CODE.TOO_LARGE, `the content has more than ${CONTENT_BYTES_MAX} bytes`);
    if (this.outbox.isFull) return this.fail(send, LOCAL_CODE.TOO_MANY_WAITING, "too many messages wait to be sent");
    this.actions.push({ type: "remember_send", send });
    this.outbox.add(send);
    this.pump(nowMs);
  }

  request(request: AppRequest, nowMs: number): void {
    this.requests.add(request);
    this.pump(nowMs);
  }

  cancel(requestId: string): void {
    this.requests.cancel(requestId);
  }

  // "0" leaves. `fromStart` asks for all that the room retains.
  enterRoom(roomId: string, fromStart: boolean, nowMs: number): void {
    this.room.enter(roomId, fromStart);
    if (this.link.phase === "live") this.subscribe(nowMs);
  }

  advance(nowMs: number): void {
    const { phase, phaseDeadlineMs } = this.link;
    if (phaseDeadlineMs <= nowMs) {
      if (phase === "waiting") this.link.attempt(nowMs);
      else if (phase === "token" || phase === "locate") this.onFailed(phase, "it took too long", nowMs);
      else this.breakOff(nowMs);
    }
    for (const own of this.underWay.values()) {
      if (own.deadlineMs > nowMs) continue;
      this.error("answer", "no answer came in time: the connection is dead");
      this.breakOff(nowMs);
      break;
    }
    this.requests.advance(nowMs);
    if (this.link.phase !== "live") return;
    if (this.heartbeatAtMs <= nowMs) this.heartbeat(nowMs, this.settings.answerTimeoutMs);
    if (this.ackAtMs <= nowMs) this.acknowledge();
    if (this.room.retryAtMs <= nowMs) this.subscribe(nowMs);
    this.pump(nowMs);
  }

  private signIn(token: string, nowMs: number): void {
    const { userId, deviceId, appId } = this.settings;
    const heartbeatS = Math.max(1, Math.ceil(this.link.heartbeatMs / 1000));
    const fields = { userId: BigInt(userId), deviceId: BigInt(deviceId), token, appId, heartbeatS };
    this.ask(PacketCommand.PC_SIGN_IN, { what: "sign_in" }, encode(SignInRequestSchema, fields), nowMs);
  }

  private heartbeat(nowMs: number, timeoutMs: number): void {
    this.heartbeatAtMs = nowMs + this.link.heartbeatMs;
    this.ask(PacketCommand.PC_HEARTBEAT, { what: "heartbeat" }, undefined, nowMs, timeoutMs);
  }

  private subscribe(nowMs: number): void {
    this.room.retryAtMs = Infinity;
    this.ask(PacketCommand.PC_SUBSCRIBE_ROOM, { what: "room", roomId: this.room.roomId }, encode(SubscribeRoomRequestSchema, this.room.fields), nowMs);
  }

  // Sends what may go out now.
  private pump(nowMs: number): void {
    this.deliver();
    if (this.link.phase !== "live") return;
    if (!this.isSyncing && this.timelines.wantsSync && this.syncAtMs <= nowMs) {
      this.isSyncing = true;
      this.ask(PacketCommand.PC_SYNC, { what: "sync" }, encode(SyncRequestSchema, this.timelines.beginSync()), nowMs);
    }
    for (const send of this.outbox.takeReady(nowMs)) {
      this.ask(PacketCommand.PC_SEND, { what: "send", clientMsgId: send.clientMsgId }, encodeSend(send), nowMs);
    }
    for (const request of this.requests.takeReady(nowMs)) {
      this.underWay.set(request.requestId, { what: "request", deadlineMs: nowMs + this.settings.answerTimeoutMs });
      this.actions.push({ type: "packet", bytes: encodePacket(request.command, request.requestId, request.content) });
    }
  }

  private ask(
    command: PacketCommand, own: { what: "sign_in" | "heartbeat" | "sync" } | { what: "room"; roomId: string } | { what: "send"; clientMsgId: string }, content: Uint8Array | undefined,
    nowMs: number, timeoutMs: number = this.settings.answerTimeoutMs,
  ): void {
    const requestId = `${own.what}-${this.nextId++}`;
    this.underWay.set(requestId, { ...own, deadlineMs: nowMs + timeoutMs });
    this.actions.push({ type: "packet", bytes: encodePacket(command, requestId, content) });
  }

  private onPacket(packet: Packet, nowMs: number): void {
    if (packet.command === PacketCommand.PC_MESSAGE) return this.timelines.push(decode(MessageSchema, packet.content));
    if (packet.command === PacketCommand.PC_SYNC_HINT) {
      this.timelines.sawNewest(Number(packet.seq));
      return this.timelines.hint();
    }
    if (packet.command === PacketCommand.PC_CLOSE) return this.onCloseNotice(packet, nowMs);
    const own = this.underWay.get(packet.requestId);
    if (!own) return;
    this.underWay.delete(packet.requestId);
    if (own.what === "heartbeat") return this.timelines.sawNewest(Number(packet.seq));
    this.onReply(packet.requestId, own, decodeReply(packet), nowMs);
  }

  private onReply(requestId: string, own: Own, reply: Reply, nowMs: number): void {
    if (own.what === "sign_in") return this.onSignInReply(reply, nowMs);
    if (own.what === "request") {
      if (this.requests.settle(requestId, reply, nowMs)) this.signInAnew(nowMs);
    } else if (reply.code === CODE.SIGN_IN_AGAIN) this.signInAnew(nowMs);
    else if (own.what === "sync") this.onSyncReply(reply, nowMs);
    else if (own.what === "send") this.onSendReply(own.clientMsgId, reply, nowMs);
    else if (own.what === "room") this.onRoomReply(own.roomId, reply, nowMs);
  }

  private onSignInReply(reply: Reply, nowMs: number): void {
    if (reply.code === CODE.SIGN_IN_AGAIN) {
      if (!this.link.onTokenRefused(nowMs)) {
        this.error("token", reply.message);
        this.breakOff(nowMs);
      }
    } else if (isPutOff(reply.code) || reply.code === CODE.INTERNAL) {
      this.breakOff(nowMs);
    } else if (reply.code !== CODE.OK) {
      this.disconnect();
      this.link.end("refused", reply.code, reply.message);
    } else {
      this.link.onSignedIn(nowMs);
      this.acknowledged = { inbox: null, groups: new Map() };
      this.onStored(this.stored, nowMs);
      this.isCatchingUp = true;
      this.syncAtMs = 0;
      this.timelines.hint();
      this.heartbeat(nowMs, this.settings.answerTimeoutMs);
      this.pump(nowMs);
      if (this.room.roomId !== "0") this.subscribe(nowMs);
    }
  }

  private onSyncReply(reply: Reply, nowMs: number): void {
    this.isSyncing = false;
    if (reply.code === CODE.OK) {
      const hasBrought = this.timelines.page(decode(SyncReplySchema, reply.data));
      this.emptySyncs = hasBrought ? 0 : this.emptySyncs + 1;
      this.syncPause.reset();
      this.syncAtMs = hasBrought || this.emptySyncs <= 1 ? 0 : nowMs + 1000;
      if (this.emptySyncs > EMPTY_SYNCS_MAX) this.timelines.giveUpWaiting();
      if (!this.timelines.wantsSync) this.emptySyncs = 0;
    } else {
      if (reply.code === CODE.BEYOND_NEWEST) this.timelines.beginAnew(decode(SyncReplySchema, reply.data));
      else this.timelines.hint();
      if (reply.code !== CODE.BEYOND_NEWEST && !isPutOff(reply.code)) this.error("sync", `${reply.code} ${reply.message}`);
      this.syncAtMs = reply.code === CODE.BEYOND_NEWEST && this.emptySyncs === 0 ? 0 : nowMs + this.syncPause.next();
      this.emptySyncs += 1;
    }
    if (this.isCatchingUp && !this.timelines.wantsSync) {
      this.deliver();
      this.isCatchingUp = false;
      this.event({ type: "synced" });
    }
  }

  private onSendReply(clientMsgId: string, reply: Reply, nowMs: number): void {
    if (isPutOff(reply.code)) return this.outbox.putOff(clientMsgId, nowMs);
    // What cannot be read is sent again: so the send stays where it is until then.
    const sent = reply.code === CODE.OK ? decode(SendReplySchema, reply.data) : null;
    const send = this.outbox.settle(clientMsgId);
    if (!send) return;
    if (!sent) return this.fail(send, reply.code, reply.message);
    const [messageId, createdAtMs, seq] = [String(sent.messageId), Number(sent.createdAtMs), Number(sent.seq)];
    this.event({ type: "sent", clientMsgId, target: send.target, messageId, seq, createdAtMs, isDuplicate: sent.duplicate });
    if (send.target.kind !== "room") this.timelines.sent(this.ownMessage(send, messageId, createdAtMs, seq), send.target.kind);
    this.deliver();
    this.actions.push({ type: "forget_send", clientMsgId });
  }

  private ownMessage(send: PendingSend, messageId: string, createdAtMs: number, seq: number): Message {
    const { userId, deviceId } = this.settings;
    const { kind, id } = send.target;
    return {
      messageId, createdAtMs, seq, command: send.command || (kind === "group" ? 2 : 1), content: send.content, status: "normal", groupSeq: 0, roomSeq: 0,
      groupId: kind === "group" ? id : "0", roomId: "0", from: { userId, deviceId, nickname: "", avatarUrl: "", extra: "" },
      toUserId: kind === "user" ? id : "0", isOwn: true, clientMsgId: send.clientMsgId,
    };
  }

  private onRoomReply(roomId: string, reply: Reply, nowMs: number): void {
    // The app is in another one by now.
    if (roomId !== this.room.roomId) return;
    if (isPutOff(reply.code)) this.room.retryAtMs = nowMs + ROOM_RETRY_MS;
    else if (roomId !== "0") {
      const state = reply.code === CODE.OK ? "entered" : "refused";
      if (state === "refused") this.room.enter("0", false);
      this.event({ type: "room", roomId, state, code: reply.code, message: reply.message });
    }
  }

  private onCloseNotice(packet: Packet, nowMs: number): void {
    const notice = decode(CloseNoticeSchema, packet.content);
    const reason = END_REASONS[notice.reason];
    if (reason) {
      this.disconnect();
      return this.link.end(reason, notice.reason, notice.message);
    }
    if (notice.reason === CloseReason.CR_HEARTBEAT_TIMEOUT) this.link.hastenHeartbeats();
    const atLeastMs = notice.reason === CloseReason.CR_RATE_LIMITED ? RATE_LIMITED_WAIT_MS : 0;
    this.link.advise(Math.max(notice.reconnectAfterMs, atLeastMs), notice.endpoint);
    this.breakOff(nowMs);
  }

  // The token ran out while connected. A connection signs in once, so it takes another one.
  private signInAnew(nowMs: number): void {
    this.link.needsNewToken();
    this.breakOff(nowMs);
  }

  private get hasToAcknowledge(): boolean {
    if ((this.stored.inbox ?? 0) > (this.acknowledged.inbox ?? 0)) return true;
    return [...this.stored.groups].some(([groupId, seq]) => seq > (this.acknowledged.groups.get(groupId) ?? 0));
  }

  private acknowledge(): void {
    this.ackAtMs = Infinity;
    const groups = [...this.stored.groups].filter(([groupId, seq]) => seq > (this.acknowledged.groups.get(groupId) ?? 0));
    const groupAcks = groups.map(([groupId, seq]) => ({ groupId: BigInt(groupId), seq: BigInt(seq) }));
    const content = encode(MessageACKRequestSchema, { deviceAck: BigInt(this.stored.inbox ?? 0), groupAcks });
    this.actions.push({ type: "packet", bytes: encodePacket(PacketCommand.PC_MESSAGE_ACK, "", content) });
    this.acknowledged = copyOf(this.stored);
  }

  private deliver(): void {
    for (const event of this.timelines.events.splice(0)) this.event(event);
    const messages = this.timelines.taken.splice(0).filter((message) => message.roomSeq === 0 || this.room.isNew(message));
    const { cursors } = this.timelines;
    const hasMoved = cursors.inbox !== this.delivered.inbox || [...cursors.groups].some(([groupId, seq]) => this.delivered.groups.get(groupId) !== seq);
    if (messages.length === 0 && !hasMoved) return;
    this.delivered = copyOf(cursors);
    this.actions.push({ type: "deliver", messages, cursors: copyOf(cursors) });
  }

  private breakOff(nowMs: number): void {
    this.disconnect();
    this.link.onFailed(nowMs);
  }

  private disconnect(): void {
    if (this.isOpen || this.link.phase === "opening") this.actions.push({ type: "disconnect" });
    this.disconnected();
  }

  private disconnected(): void {
    this.isOpen = false;
    this.isSyncing = false;
    this.ackAtMs = Infinity;
    this.underWay.clear();
    this.outbox.disconnected();
    this.requests.disconnected();
  }

  private fail(send: PendingSend, code: number, message: string): void {
    this.event({ type: "failed", clientMsgId: send.clientMsgId, target: send.target, code, message });
    this.actions.push({ type: "forget_send", clientMsgId: send.clientMsgId });
  }

  private error(about: string, message: string): void {
    this.event({ type: "error", about, message });
  }

  private event(event: CoreEvent): void {
    this.actions.push({ type: "event", event });
  }
}

function copyOf(cursors: Cursors): Cursors {
  return { inbox: cursors.inbox, groups: new Map(cursors.groups) };
}
