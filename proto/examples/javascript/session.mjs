// What a client remembers and decides, whatever carries its packets. Nothing here does IO or waits.
//
// The inbox: `cursor` is the seq of the newest message that was shown, `newest` the highest seq that is known to exist. Whatever
// tells of a higher seq than the cursor, and is not the very next message, is answered by a sync.
// Sends: each keeps its key (`client_msg_id`) until it is answered, and is sent again with it after a reconnect.
// Left out: rooms, and large groups, whose messages have numbers of their own (see PROTOCOL.md).

const SIGN_IN = 1, HEARTBEAT = 2, MESSAGE = 4, SYNC = 5, ACK = 6, SEND = 7, CLOSE = 8, SYNC_HINT = 9;
const USER_MESSAGE = 1, GROUP_MESSAGE = 2;
export const HEARTBEAT_S = 100;
export const SILENCE_MS = 120_000; // at least heartbeats are answered: a connection that is silent for longer is dead
const TRY_LATER = [10003, 10004];
const BEYOND_NEWEST = 10007;
const STAY_AWAY = [5, 6, 11]; // replaced, kicked, token revoked

// Connecting again would not help.
export class Ended extends Error {}

export class Session {
  // `proto` is what protobufjs made of logic.proto, loaded with keepCase.
  constructor(proto, userId, deviceId, token, show) {
    this.type = (name) => proto.lookupType(name);
    this.credentials = { user_id: userId, device_id: deviceId, token, heartbeat_s: HEARTBEAT_S };
    this.show = show;
    this.cursor = this.newest = 0; // a real client stores the cursor together with its messages
    this.shown = new Set(); // message ids: those of its stored messages, in a real client
    this.isNew = true; // it does not know yet where to begin, and a real client stores that as well
    this.unanswered = new Map(); // client_msg_id → SendRequest, oldest first
    this.isLive = false;
    this.advice = {};
  }

  // A connection is there; `write` takes packets (bytes) to it.
  begin(write) {
    this.write = write;
    this.isLive = false; // signed in
    this.isSyncing = false;
    this.isPutOff = false; // something was answered "try again later"
    this.request(SIGN_IN, "connect.SignInRequest", this.credentials);
  }

  send(userId, text) {
    const key = crypto.randomUUID();
    this.unanswered.set(key, { user_id: userId, content: new TextEncoder().encode(text), client_msg_id: key });
    if (this.isLive) this.request(SEND, "connect.SendRequest", this.unanswered.get(key), key);
  }

  heartbeat() {
    if (this.isLive) this.request(HEARTBEAT);
  }

  // Repeats what was put off. To be called about once a second.
  retry() {
    if (!this.isLive || !this.isPutOff) return;
    this.isPutOff = false;
    this.isSyncing = false;
    this.sendUnanswered();
    this.catchUp();
  }

  // What the server said about coming back, once.
  takeAdvice() {
    const advice = this.advice;
    this.advice = {};
    return advice;
  }

  onPacket(bytes) {
    const packet = this.decode("connect.Packet", bytes);
    if ([SIGN_IN, SYNC, SEND].includes(packet.command)) {
      this.onReply(packet, this.decode("connect.Reply", packet.content));
    } else if ([HEARTBEAT, SYNC_HINT].includes(packet.command)) {
      this.newest = Math.max(this.newest, Number(packet.seq));
    } else if (packet.command === MESSAGE) {
      const message = this.decode("connect.Message", packet.content);
      if (Number(message.seq) > 0) { // else it is of a room or a large group, or stored nowhere
        this.newest = Math.max(this.newest, Number(message.seq));
        if (Number(message.prev_seq) === this.cursor && !this.isNew) this.take(message);
      }
    } else if (packet.command === CLOSE) {
      this.isLive = false;
      this.advice = this.decode("connect.CloseNotice", packet.content);
      if (STAY_AWAY.includes(this.advice.reason)) throw new Ended(this.advice.message);
    }
    this.catchUp();
  }

  catchUp() {
    if (!this.isLive || this.isSyncing || (!this.isNew && this.newest <= this.cursor)) return;
    this.isSyncing = true;
    // To a new device, seq 0 means where the user's other devices are; to any other one, the start.
    this.request(SYNC, "logic.SyncRequest", { seq: this.cursor, from_start: !this.isNew });
  }

  onReply(packet, reply) {
    if (TRY_LATER.includes(reply.code)) {
      if (packet.command === SIGN_IN) throw new Error(reply.message);
      this.isPutOff = true;
    } else if (packet.command === SEND) {
      this.onSent(packet.request_id, reply);
    } else if (packet.command === SYNC && reply.code === BEYOND_NEWEST) {
      this.beginAnew(Number(this.decode("logic.SyncReply", reply.data).start_seq));
    } else if (reply.code !== 0) {
      throw new Ended(`${reply.code} ${reply.message}`);
    } else if (packet.command === SIGN_IN) {
      this.isLive = true;
      this.heartbeat(); // its answer tells the newest seq
      this.sendUnanswered();
    } else {
      const page = this.decode("logic.SyncReply", reply.data);
      this.isNew = this.isSyncing = false;
      this.cursor = Math.max(this.cursor, Number(page.start_seq));
      for (const message of page.messages) {
        if (Number(message.seq) > this.cursor) this.take(message);
      }
    }
  }

  // The server was restored from an older backup: some numbers stand for other messages now, message ids do not.
  beginAnew(newest) {
    this.cursor = 0;
    this.newest = newest;
    this.isSyncing = false;
  }

  onSent(key, reply) {
    const request = this.unanswered.get(key);
    this.unanswered.delete(key);
    const sent = this.decode("connect.SendReply", reply.data);
    const seq = Number(sent.seq);
    this.newest = Math.max(this.newest, seq);
    if (reply.code !== 0) this.show(0, `refused: ${reply.code} ${reply.message}`);
    // Otherwise something before it is missing, and the sync brings both.
    else if (request && !this.isNew && seq === this.cursor + 1) this.advance(seq, sent.message_id, request.content);
  }

  sendUnanswered() {
    for (const [key, request] of this.unanswered) this.request(SEND, "connect.SendRequest", request, key);
  }

  take(message) {
    const wrapper = { [USER_MESSAGE]: "logic.UserMessagePush", [GROUP_MESSAGE]: "logic.GroupMessagePush" }[message.command];
    const content = wrapper ? this.decode(wrapper, message.content).content : message.content;
    this.advance(Number(message.seq), message.message_id, content);
  }

  advance(seq, messageId, content) {
    this.cursor = seq;
    if (!this.shown.has(String(messageId))) this.show(seq, new TextDecoder().decode(content));
    this.shown.add(String(messageId));
    this.request(ACK, "logic.MessageACKRequest", { device_ack: seq }, ""); // without an id: unanswered
  }

  request(command, type, fields, requestId = "1") {
    const content = type ? this.type(type).encode(fields).finish() : undefined;
    this.write(this.type("connect.Packet").encode({ request_id: requestId, command, content }).finish());
  }

  decode(type, bytes) {
    return this.type(type).decode(bytes);
  }
}
