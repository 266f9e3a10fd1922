// When and where to connect: the token, the addresses, the waits, and whether the connection is alive. It knows no packets but for the
// sign-in and the heartbeat, which `Core` sends for it.

import { Backoff } from "./backoff.js";
import type { Action, CoreSettings, EndReason, State } from "./types.js";

export const HEARTBEAT_DEFAULT_MS = 150_000;
const TOKEN_TIMEOUT_MS = 30_000;
const LOCATE_TIMEOUT_MS = 10_000;
const OPEN_TIMEOUT_MS = 10_000;
// A connection that lasted for so long was a good one: the next wait begins anew.
const STABLE_MS = 30_000;
// Whoever was too fast comes back no sooner.
export const RATE_LIMITED_WAIT_MS = 5000;
// What a server may ask for at most, of waits and heartbeats alike.
const ADVICE_MAX_MS = 3_600_000;

export interface Located {
  // URLs, best first.
  urls: string[];
  heartbeatMs: number;
  firstMs: number;
  maxMs: number;
}

type Phase = "idle" | "token" | "locate" | "opening" | "signing_in" | "live" | "waiting" | "ended";

export class Link {
  phase: Phase = "idle";
  // When the present phase has taken too long, or the wait is over.
  phaseDeadlineMs = Infinity;
  heartbeatMs: number;
  private readonly backoff: Backoff;
  private token = "";
  private wasRefused = false;
  private candidates: string[] = [];
  // Where the connection is, or was last.
  private openUrl = "";
  private adviceMs = 0;
  private adviceUrl = "";
  private notBeforeMs = 0;
  private liveSinceMs = 0;

  constructor(
    private readonly settings: CoreSettings,
    private readonly emit: (action: Action) => void,
    private readonly roomId: () => string,
  ) {
    this.heartbeatMs = settings.heartbeatMs ?? HEARTBEAT_DEFAULT_MS;
    this.backoff = new Backoff(500, 30_000, settings.random);
  }

  get isConnected(): boolean {
    return this.phase === "signing_in" || this.phase === "live";
  }

  attempt(nowMs: number): void {
    this.setState({ name: "connecting" });
    this.askForToken(nowMs);
  }

  private askForToken(nowMs: number): void {
    this.enter("token", nowMs + TOKEN_TIMEOUT_MS);
    this.emit({ type: "get_token", wasRefused: this.wasRefused });
  }

  // Returns the token if there is a connection to sign in on already.
  onToken(token: string | null, nowMs: number, isOpen: boolean): string | null {
    if (this.phase !== "token") return null;
    if (token === null) {
      if (isOpen) this.emit({ type: "disconnect" });
      this.end("no_token", 0, "the app gave no token");
      return null;
    }
    this.token = token;
    if (isOpen) {
      this.enter("signing_in", Infinity);
      return token;
    }
    if (this.adviceUrl) this.candidates = [this.adviceUrl];
    else if (this.settings.url !== null) this.candidates = [this.settings.url];
    this.adviceUrl = "";
    if (this.candidates.length > 0) this.openNext(nowMs);
    else this.locate(nowMs);
    return null;
  }

  private locate(nowMs: number): void {
    this.enter("locate", nowMs + LOCATE_TIMEOUT_MS);
    this.emit({ type: "locate", roomId: this.roomId() });
  }

  onLocated(located: Located, nowMs: number): void {
    if (this.phase !== "locate") return;
    if (located.heartbeatMs > 0 && this.settings.heartbeatMs === null) this.heartbeatMs = Math.min(located.heartbeatMs, ADVICE_MAX_MS);
    if (located.firstMs > 0) this.backoff.firstMs = Math.min(located.firstMs, ADVICE_MAX_MS);
    if (located.maxMs > 0) this.backoff.maxMs = Math.min(located.maxMs, ADVICE_MAX_MS);
    this.candidates = [...located.urls];
    this.openNext(nowMs);
  }

  private openNext(nowMs: number): void {
    const url = this.candidates.shift();
    if (url === undefined) return this.wait(nowMs);
    this.openUrl = url;
    this.enter("opening", nowMs + OPEN_TIMEOUT_MS);
    this.emit({ type: "connect", url });
  }

  // The connection is open. Returns the token to sign in with.
  onOpened(): string | null {
    if (this.phase !== "opening") return null;
    this.candidates = [];
    this.enter("signing_in", Infinity);
    return this.token;
  }

  onSignedIn(nowMs: number): void {
    this.wasRefused = false;
    this.liveSinceMs = nowMs;
    this.enter("live", Infinity);
    this.setState({ name: "live" });
  }

  // The token is worthless: with a new one the client signs in on the same connection, once.
  onTokenRefused(nowMs: number): boolean {
    const isFirst = !this.wasRefused;
    this.wasRefused = true;
    if (isFirst) this.askForToken(nowMs);
    return isFirst;
  }

  // A connection that was signed in has to begin anew with another token.
  needsNewToken(): void {
    this.wasRefused = true;
  }

  // What PC_CLOSE said.
  advise(afterMs: number, url: string): void {
    this.adviceMs = Math.min(afterMs, ADVICE_MAX_MS);
    // Who came over TLS is not sent to where there is none.
    if (/^wss:/.test(url) || (/^ws:/.test(url) && !/^wss:/.test(this.openUrl))) this.adviceUrl = url;
  }

  // The server missed some: they come twice as often from now on.
  hastenHeartbeats(): void {
    this.heartbeatMs = Math.max(Math.min(10_000, this.heartbeatMs), this.heartbeatMs / 2);
  }

  // The connection ended or could not be made; or what comes before it failed.
  onFailed(nowMs: number): void {
    if (this.phase === "idle" || this.phase === "ended" || this.phase === "waiting") return;
    if (this.phase === "opening" && this.candidates.length > 0) return this.openNext(nowMs);
    this.wait(nowMs);
  }

  private wait(nowMs: number): void {
    if (this.phase === "live" && nowMs - this.liveSinceMs >= STABLE_MS) this.backoff.reset();
    this.candidates = [];
    this.notBeforeMs = nowMs + this.adviceMs;
    const untilMs = nowMs + Math.max(this.backoff.next(), this.adviceMs);
    this.adviceMs = 0;
    this.enter("waiting", untilMs);
    this.setState({ name: "waiting", untilMs });
  }

  // The network or the page came back. What the server asked for still holds.
  nudge(nowMs: number): void {
    if (this.phase !== "waiting") return;
    if (nowMs >= this.notBeforeMs) this.attempt(nowMs);
    else this.phaseDeadlineMs = Math.min(this.phaseDeadlineMs, this.notBeforeMs);
  }

  end(reason: EndReason, code: number, message: string): void {
    this.enter("ended", Infinity);
    this.wasRefused = reason === "token_revoked";
    this.setState({ name: "ended", reason, code, message });
  }

  stop(): void {
    this.enter("idle", Infinity);
    this.setState({ name: "idle" });
  }

  private enter(phase: Phase, deadlineMs: number): void {
    this.phase = phase;
    this.phaseDeadlineMs = deadlineMs;
  }

  private setState(state: State): void {
    this.emit({ type: "event", event: { type: "state", state } });
  }
}
