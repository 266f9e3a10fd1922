// Who is signed in, and what the address of the page asks for. Views read it and are told when something changed.

import { Chat } from "./chat";
import { routeOf, type Route } from "./route";
import type { Place } from "./waking";

export interface Account {
  user_id: string;
  device_id: string;
  token: string;
}

// What gim-business says of itself.
export interface Config {
  // Where to connect; empty where Locate is to be asked.
  connect: string;
  is_for_development: boolean;
  // Whether the server sends codes.
  sends_codes: boolean;
  // Where pictures may come from that are shown without being asked for; "*" for anywhere.
  media_origins: string[];
  // Where files are uploaded; empty for nowhere.
  files: string;
}

const ACCOUNT = "gim account";

const post = (path: string, body: object): Promise<Response> =>
  fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

export class App {
  config: Config = { connect: "", is_for_development: false, sends_codes: false, media_origins: [], files: "" };
  chat: Chat | null = null;
  route: Route = routeOf(location.hash);
  private readonly listeners = new Set<() => void>();

  constructor() {
    addEventListener("hashchange", () => this.follow());
    navigator.serviceWorker?.addEventListener("message", ({ data }: MessageEvent<Place>) => { location.hash = data.place; });
    // Signed in or out in another tab.
    addEventListener("storage", ({ key }) => { if (key === ACCOUNT || key === null) void this.begin(); });
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  readonly changed = (): void => {
    for (const listener of this.listeners) listener();
  };

  async start(): Promise<void> {
    try {
      const response = await fetch("config.json");
      if (response.ok) this.config = { ...this.config, ...(await response.json()) };
    } catch (error) {
      console.warn("config.json", error);
    }
    await this.begin();
  }

  // Returns what went wrong, in words.
  async sendCode(phone_number: string): Promise<string> {
    try {
      const response = await post("send-code", { phone_number });
      return response.ok ? "" : (await response.json()).message;
    } catch (error) {
      return String(error);
    }
  }

  // Returns what went wrong, in words.
  async signIn(phone_number: string, code: string): Promise<string> {
    try {
      const known = `gim device of ${phone_number}`;
      const device_id = localStorage.getItem(known) ?? "";
      const response = await post("sign-in", { phone_number, code, device_id });
      const answer = await response.json();
      if (!response.ok) return answer.message;
      localStorage.setItem(known, answer.device_id);
      localStorage.setItem(ACCOUNT, JSON.stringify(answer));
      await this.begin();
      return "";
    } catch (error) {
      return String(error);
    }
  }

  // The server forgets the token as well, where it can be reached.
  async signOut(): Promise<void> {
    await this.chat?.woken.turnOff().catch((error) => console.warn("waking", error));
    if (this.chat?.state.name === "live") await this.chat.client.users.signOut({ timeoutMs: 3000 }).catch((error) => console.warn("sign-out", error));
    localStorage.removeItem(ACCOUNT);
    location.hash = "";
    await this.begin();
  }

  // The user of this browser chats from here on; nobody where none is signed in.
  private async begin(): Promise<void> {
    const account = readAccount();
    if (this.chat && account?.device_id === this.chat.account.device_id && account.token === this.chat.account.token) return;
    const before = this.chat;
    this.chat = account ? new Chat(account, this.config, this.changed) : null;
    this.changed();
    await before?.stop();
    await this.chat?.start();
    this.follow();
  }

  private follow(): void {
    this.route = routeOf(location.hash);
    this.chat?.open(this.route.name === "talk" ? this.route.target : null);
    this.changed();
  }
}

function readAccount(): Account | null {
  try {
    return JSON.parse(localStorage.getItem(ACCOUNT) ?? "null");
  } catch {
    return null;
  }
}
