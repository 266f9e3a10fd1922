// What a client remembers between two runs, behind an interface that anything may implement.

import type { Cursors, PendingSend, Remembered } from "../core/types.js";
import type { Message } from "../message.js";

// Every method may fail: the client goes on without storing then, acknowledges nothing more, and says so by an `error` event about
// "storage". What it could not store comes again in the next run.
export interface Store {
  load(): Promise<Remembered>;
  // Keeps the messages and the cursors, both or neither, and returns those of the messages that it did not have. Messages that are
  // in no inbox and in no timeline (of rooms, for instance), or have no id, are new each time, and are not kept.
  apply(messages: Message[], cursors: Cursors): Promise<Message[]>;
  rememberSend(send: PendingSend): Promise<void>;
  forgetSend(clientMsgId: string): Promise<void>;
  close(): void;
}

// A store that forgets everything with the process.
export class MemoryStore implements Store {
  private cursors: Cursors = { inbox: null, groups: new Map() };
  private readonly sends = new Map<string, PendingSend>();

  async load(): Promise<Remembered> {
    const cursors = { inbox: this.cursors.inbox, groups: new Map(this.cursors.groups) };
    return { cursors, outbox: [...this.sends.values()], delivered: [] };
  }

  async apply(messages: Message[], cursors: Cursors): Promise<Message[]> {
    this.cursors = cursors;
    return messages;
  }

  async rememberSend(send: PendingSend): Promise<void> {
    this.sends.set(send.clientMsgId, send);
  }

  async forgetSend(clientMsgId: string): Promise<void> {
    this.sends.delete(clientMsgId);
  }

  close(): void {}
}
