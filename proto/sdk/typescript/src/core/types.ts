// What goes in and out of the core.

import type { Message } from "../message.js";
import type { Target } from "../wire.js";

export interface CoreSettings {
  userId: string;
  deviceId: string;
  appId: number;
  // One address that is always tried, instead of those that Locate names.
  url: string | null;
  // How often to send a heartbeat; null leaves it to Locate, and to 150 seconds without it.
  heartbeatMs: number | null;
  // How long an answer may take until the connection is taken for dead.
  answerTimeoutMs: number;
  // Where a device without a cursor begins: where the user's other devices are, or with the first message that is kept.
  startAt: "devices" | "first";
  // From 0 to 1, for the waits between attempts.
  random: () => number;
}

// How far a device has everything.
export interface Cursors {
  // null for a device that does not know yet where to begin.
  inbox: number | null;
  groups: Map<string, number>;
}

export interface PendingSend {
  clientMsgId: string;
  target: Target;
  command: number;
  content: Uint8Array;
  createdAtMs: number;
}

// What a client remembers between two runs.
export interface Remembered {
  cursors: Cursors;
  outbox: PendingSend[];
  // Ids of messages that were delivered lately, as `idOf` makes them.
  delivered: string[];
}

export type State =
  | { name: "idle" }
  | { name: "connecting" }
  | { name: "live" }
  // Connects again by itself at this time.
  | { name: "waiting"; untilMs: number }
  // Stays away until the app starts it again.
  | { name: "ended"; reason: EndReason; code: number; message: string };

// replaced, kicked and token_revoked: the server closed. refused: it refused the sign-in for good. no_token: the app gave none.
export type EndReason = "replaced" | "kicked" | "token_revoked" | "refused" | "no_token";

export type CoreEvent =
  | { type: "state"; state: State }
  // All that was there when the connection came up has been delivered.
  | { type: "synced" }
  | { type: "sent"; clientMsgId: string; target: Target; messageId: string; seq: number; createdAtMs: number; isDuplicate: boolean }
  | { type: "failed"; clientMsgId: string; target: Target; code: number; message: string }
  // Messages between these two numbers are kept no longer; groupId is "0" for the inbox.
  | { type: "gap"; groupId: string; afterSeq: number; beforeSeq: number }
  | { type: "room"; roomId: string; state: "entered" | "refused"; code: number; message: string }
  // Something went wrong, and the client goes on by itself.
  | { type: "error"; about: string; message: string };

export interface Answer {
  code: number;
  message: string;
  data: Uint8Array;
}

export type Action =
  | { type: "get_token"; wasRefused: boolean }
  | { type: "locate"; roomId: string }
  | { type: "connect"; url: string }
  | { type: "disconnect" }
  | { type: "packet"; bytes: Uint8Array<ArrayBuffer> }
  // Messages are to be stored together with the cursors, then shown; `Core.stored` says when that is done.
  | { type: "deliver"; messages: Message[]; cursors: Cursors }
  | { type: "remember_send"; send: PendingSend }
  | { type: "forget_send"; clientMsgId: string }
  | { type: "answer"; requestId: string; answer: Answer }
  | { type: "event"; event: CoreEvent };
