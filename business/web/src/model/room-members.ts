// How many are in the room that is open, asked for as long as anybody can see it.

import type { Chat } from "./chat";

const PERIOD_MS = 15_000;
// By then the server counts who has just entered.
const COUNTED_MS = 3000;

export class RoomMembers {
  // null where it is not known.
  count: number | null = null;
  private isAsking = false;
  private readonly timers: ReturnType<typeof setTimeout>[];
  private readonly stopListening: () => void;

  constructor(
    private readonly chat: Chat,
    private readonly roomId: string,
  ) {
    this.timers = [setInterval(this.ask, PERIOD_MS)];
    this.stopListening = chat.client.on("room", (room) => {
      if (room.roomId === roomId && room.state === "entered") this.timers[1] = this.askLater();
    });
    document.addEventListener("visibilitychange", this.ask);
    this.ask();
  }

  close(): void {
    for (const timer of this.timers) clearTimeout(timer);
    this.stopListening();
    document.removeEventListener("visibilitychange", this.ask);
  }

  private askLater(): ReturnType<typeof setTimeout> {
    clearTimeout(this.timers[1]);
    return setTimeout(this.ask, COUNTED_MS);
  }

  private readonly ask = (): void => {
    if (this.isAsking || document.visibilityState !== "visible") return;
    this.isAsking = true;
    // A backend of its own may not let clients count.
    const counted = this.chat.client.rooms.countMembers([this.roomId]).then(([count]) => count ?? null, () => null);
    void counted.then((count) => {
      this.isAsking = false;
      if (count === this.count) return;
      this.count = count;
      this.chat.changed();
    });
  };
}
