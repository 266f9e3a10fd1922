// Events to the app. What a listener throws is told to the listeners of `error`, and harms nobody else.

import type { CoreEvent, State } from "./core/types.js";
import type { Message } from "./message.js";
import type { ConversationChange, ReadMark } from "./services/conversations.js";

type Of<T extends CoreEvent["type"]> = Omit<Extract<CoreEvent, { type: T }>, "type">;

export interface ClientEvents {
  message: Message;
  // Another device of the user changed it. It is not kept for a device that is away: list the conversations after `synced`.
  conversation: ConversationChange;
  // Somebody else read. It is not kept for a device that is away, either.
  read: ReadMark;
  state: State;
  synced: Record<string, never>;
  sent: Of<"sent">;
  failed: Of<"failed">;
  gap: Of<"gap">;
  room: Of<"room">;
  error: Of<"error">;
}

type Listener<T> = (event: T) => void | Promise<void>;

export class Emitter {
  private readonly listeners: { [Name in keyof ClientEvents]?: Set<Listener<any>> } = {};

  // Returns what takes the listener away again.
  on<Name extends keyof ClientEvents>(name: Name, listener: Listener<ClientEvents[Name]>): () => void {
    const listeners = (this.listeners[name] ??= new Set());
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  emit<Name extends keyof ClientEvents>(name: Name, event: ClientEvents[Name]): void {
    for (const listener of this.listeners[name] ?? []) {
      try {
        Promise.resolve(listener(event)).catch((error) => this.onThrown(name, error));
      } catch (error) {
        this.onThrown(name, error);
      }
    }
  }

  private onThrown(name: keyof ClientEvents, error: unknown): void {
    if (name === "error") console.error(error);
    else this.emit("error", { about: "listener", message: String(error) });
  }
}
