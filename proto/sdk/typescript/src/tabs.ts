// Several tabs of one browser with one store: the one that holds the lock has the connection, and the others speak through it. When it
// goes, the next one takes its place. Where there are no locks, as in Node, everybody is alone.

import type { CoreEvent, PendingSend, Answer } from "./core/types.js";
import type { AppRequest } from "./core/requests.js";
import type { Message } from "./message.js";

export type Note =
  // From the tab with the connection.
  | { kind: "event"; event: CoreEvent }
  | { kind: "message"; message: Message }
  | { kind: "answer"; requestId: string; answer: Answer }
  // To it. It may be of a former version, which took every note that it did not know as that of a room: what is new is a field of a note
  // that it knows. Where the network or the page came back, `isBack`.
  | { kind: "hello"; isBack?: boolean }
  | { kind: "start" }
  | { kind: "send"; send: PendingSend }
  | { kind: "request"; request: AppRequest }
  | { kind: "room"; roomId: string; fromStart: boolean };

export class Tabs {
  private readonly channel: BroadcastChannel | null = null;
  private release: (() => void) | null = null;
  private readonly left = new AbortController();

  constructor(
    private readonly name: string | undefined,
    onNote: (note: Note) => void,
  ) {
    if (name === undefined || !globalThis.navigator?.locks || typeof BroadcastChannel === "undefined") return;
    this.channel = new BroadcastChannel(name);
    this.channel.onmessage = ({ data }) => onNote(data as Note);
  }

  get areShared(): boolean {
    return this.channel !== null;
  }

  // `onLeader` is called once this tab may connect.
  join(onLeader: () => void): void {
    if (!this.channel || this.name === undefined) return onLeader();
    const held = navigator.locks.request(this.name, { signal: this.left.signal }, () => new Promise<void>((resolve) => {
      this.release = resolve;
      onLeader();
    }));
    // It was left before it had the lock.
    held.catch(() => {});
  }

  tell(note: Note): void {
    try {
      this.channel?.postMessage(note);
    } catch {
      // It was closed.
    }
  }

  leave(): void {
    this.left.abort();
    this.release?.();
    this.channel?.close();
  }
}
