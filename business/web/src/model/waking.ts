// How this browser is woken when no page is open: by Web Push, where the user wants that, and the browser and the server can.

import type { Chat } from "./chat";

// What the service worker says to a page when something was pressed on.
export interface Place {
  place: string;
}

// `no`: the browser or the server cannot. `refused`: the user told the browser so.
export type Waking = "no" | "off" | "on" | "refused";

// A script that is not there, or a service that does not answer, costs the page nothing.
const REGISTERED_WITHIN_MS = 10_000;

export class Woken {
  state: Waking = "no";
  private key: Uint8Array<ArrayBuffer> | null = null;

  constructor(private readonly chat: Chat) {}

  // Once the connection is there: says anew where this browser is reached, as its maker may have changed it.
  async begin(): Promise<void> {
    if (!("serviceWorker" in navigator) || !("PushManager" in globalThis) || !("Notification" in globalThis)) return;
    try {
      this.key = await this.chat.client.devices.webPushKey();
      if (!this.key) return;
      const subscription = await (await navigator.serviceWorker.getRegistration())?.pushManager.getSubscription();
      if (subscription && Notification.permission === "granted") await this.tell(subscription);
      this.become(Notification.permission === "denied" ? "refused" : subscription ? "on" : "off");
    } catch (error) {
      console.warn("waking", error);
    }
  }

  // At a press of the user, as browsers want it.
  async turnOn(): Promise<void> {
    const permission = await Notification.requestPermission();
    if (permission !== "granted") return this.become(permission === "denied" ? "refused" : "off");
    await navigator.serviceWorker.register("worker.js");
    const { pushManager } = await within(navigator.serviceWorker.ready);
    await this.tell(await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: this.key! }));
    this.become("on");
  }

  // The browser's maker forgets this browser, and the server does, where it can be reached.
  async turnOff(): Promise<void> {
    const registration = await navigator.serviceWorker?.getRegistration();
    const subscription = await registration?.pushManager.getSubscription();
    for (const notification of (await registration?.getNotifications()) ?? []) notification.close();
    await navigator.clearAppBadge?.().catch(() => {});
    if (!subscription) return;
    await subscription.unsubscribe();
    if (this.chat.state.name === "live") await this.chat.client.devices.update({ pushId: "" }, { timeoutMs: 3000 });
    this.become("off");
  }

  private async tell(subscription: PushSubscription): Promise<void> {
    await this.chat.client.devices.update({ pushId: JSON.stringify(subscription) });
  }

  private become(state: Waking): void {
    this.state = state;
    this.chat.changed();
  }
}

function within<T>(promise: Promise<T>): Promise<T> {
  const late = new Promise<never>((_, reject) => setTimeout(() => reject(new Error("the service worker does not start")), REGISTERED_WITHIN_MS));
  return Promise.race([promise, late]);
}
