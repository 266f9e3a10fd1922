// What a user who is signed in has: the connection, the conversations, the people, and the conversation that is open.

import { Client, conversationOf, IndexedDbStore, noticeOf, type Message, type ReadMark, type State, type Target, type TypedContent } from "gim-client";
import { text } from "../text";
import type { Account, Config } from "./app";
import { Drafts } from "./drafts";
import { Entries } from "./entries";
import { Files } from "./files";
import { Shown } from "./media";
import { Outgoing } from "./outgoing";
import { People } from "./people";
import { keyOf } from "./route";
import { Talk } from "./talk";
import { Uploads } from "./uploads";
import { Woken } from "./waking";

// Messages of the room that is entered; they are stored nowhere.
const ROOM_MESSAGES_MAX = 2000;
const HEARTBEAT_MS = 30_000;
const NOTICE_MS = 6000;

export type Merged = Extract<TypedContent, { kind: "mergedForward" }>["value"];

export class Chat {
  readonly client: Client;
  readonly store: IndexedDbStore;
  readonly entries: Entries;
  readonly people: People;
  readonly outgoing: Outgoing;
  talk: Talk | null = null;
  state: State = { name: "idle" };
  isStoring = true;
  // Whether all that was missed is here.
  isSynced = false;
  // Said for a moment.
  notice = "";
  room: { id: string; messages: Message[]; problem: string } | null = null;
  readonly readings: Merged[] = [];
  readonly drafts = new Drafts();
  readonly shown: Shown;
  readonly files: Files;
  readonly uploads: Uploads;
  readonly woken = new Woken(this);

  constructor(
    readonly account: Account,
    config: Config,
    readonly changed: () => void,
  ) {
    const { user_id: userId, device_id: deviceId, token } = account;
    this.store = new IndexedDbStore(`gim ${userId} ${deviceId}`);
    const where = config.connect ? { url: config.connect, heartbeatMs: HEARTBEAT_MS } : { locate: new URL("locate", location.href).href };
    this.client = new Client({
      ...where, userId, deviceId, store: this.store, startAt: "first",
      // This page has no other way to a token than the sign-in.
      getToken: ({ wasRefused }) => (wasRefused ? null : token),
    });
    this.shown = new Shown(config);
    this.files = new Files(account, config.files);
    this.uploads = new Uploads(this);
    this.people = new People(this);
    this.entries = new Entries(this);
    this.outgoing = new Outgoing(this);
  }

  async start(): Promise<void> {
    const { client } = this;
    client.on("state", (state) => this.onState(state));
    client.on("message", (message) => this.onMessage(message));
    client.on("conversation", (change) => this.entries.onChange(change));
    client.on("read", (mark) => this.onRead(mark));
    client.on("synced", () => void this.onSynced());
    client.on("sent", ({ clientMsgId, messageId, createdAtMs }) => this.outgoing.onSent(clientMsgId, messageId, createdAtMs));
    client.on("failed", ({ clientMsgId, message }) => this.outgoing.onFailed(clientMsgId, message));
    client.on("room", ({ roomId, state, message }) => this.onRoom(roomId, state, message));
    client.on("error", ({ about, message }) => {
      console.warn(about, message);
      if (about === "storage") { this.isStoring = false; this.changed(); }
    });
    addEventListener("focus", this.onFocus);
    addEventListener("storage", this.onStorage);
    try {
      await this.outgoing.load();
      await this.entries.load();
    } catch {
      this.isStoring = false;
    }
    client.start();
    this.changed();
  }

  async stop(): Promise<void> {
    removeEventListener("focus", this.onFocus);
    removeEventListener("storage", this.onStorage);
    this.talk?.close();
    await this.client.stop();
  }

  // Takes the connection back from another page.
  useHere(): void {
    this.client.start();
  }

  open(target: Target | null): void {
    if (target && this.talk && keyOf(this.talk.target) === keyOf(target)) return;
    this.talk?.close();
    this.talk = target && new Talk(this, target);
    if (target?.kind === "room") this.enterRoom(target.id);
    void this.talk?.load();
  }

  leaveRoom(): void {
    this.room = null;
    this.client.leaveRoom();
    location.hash = "";
  }

  tell(problem: unknown): void {
    this.say(problem instanceof Error ? problem.message.replace(/^-?\d+ /, "") : String(problem));
  }

  say(notice: string): void {
    this.notice = notice;
    this.changed();
    setTimeout(() => {
      if (this.notice !== notice) return;
      this.notice = "";
      this.changed();
    }, NOTICE_MS);
  }

  // Opens what was forwarded together, above what is open.
  read(merged: Merged): void {
    this.readings.push(merged);
    this.changed();
  }

  // Closes it, and what was opened from it.
  endReading(depth: number): void {
    this.readings.length = depth;
    this.changed();
  }

  private enterRoom(id: string): void {
    if (this.room?.id === id && !this.room.problem) return;
    if (this.room && this.room.id !== id) this.entries.remove({ kind: "room", id: this.room.id });
    this.room = { id, messages: [], problem: "" };
    this.entries.add({ kind: "room", id });
    this.client.enterRoom(id, { fromStart: true });
  }

  private onRoom(roomId: string, state: "entered" | "refused", message: string): void {
    if (this.room?.id !== roomId) return;
    this.room.problem = state === "refused" ? message : "";
    this.changed();
  }

  private onState(state: State): void {
    this.state = state;
    if (state.name !== "live") this.isSynced = false;
    this.changed();
  }

  private onRead(mark: ReadMark): void {
    this.entries.onRead(mark);
    this.talk?.onRead(mark);
    this.changed();
  }

  private async onSynced(): Promise<void> {
    this.isSynced = true;
    void this.talk?.onSynced();
    await Promise.all([this.entries.refresh(), this.people.refresh(), this.woken.begin()]);
    this.changed();
  }

  private onMessage(message: Message): void {
    this.people.learn(message);
    const notice = noticeOf(message);
    if (notice?.kind === "friend_asked" || notice?.kind === "friend_agreed") {
      void this.people.refresh();
      const who = notice.user.nickname || this.people.nameOf({ kind: "user", id: notice.user.userId });
      this.say(notice.kind === "friend_asked" ? text.wantsFriend(who) : text.isFriend(who));
      return;
    }
    if (notice) {
      this.people.onGroupNotice(notice);
      this.talk?.onNotice(notice);
    }
    if (message.roomId !== "0" && this.room?.id === message.roomId) {
      this.room.messages.push(message);
      if (this.room.messages.length > ROOM_MESSAGES_MAX) this.room.messages.shift();
    }
    const target = conversationOf(message);
    if (this.talk && (message.status !== "normal" || (target && keyOf(target) === keyOf(this.talk.target)))) this.talk.onMessage(message);
    this.entries.onMessage(message, target);
    this.changed();
  }

  private readonly onFocus = (): void => this.talk?.markRead();

  // Another tab read something.
  private readonly onStorage = ({ key }: StorageEvent): void => {
    if (key?.startsWith(`gim read ${this.account.user_id} `)) this.entries.readElsewhere(key.slice(`gim read ${this.account.user_id} `.length));
  };
}
