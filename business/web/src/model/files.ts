// Files on the server: what is uploaded, and addresses by which it can be read for a while. A message has the id of a file.

import { Files as Uploading } from "gim-client/files";
import type { Account } from "./app";

// As the server tells it.
export interface StoredFile {
  file_id: string;
  name: string;
  kind: string;
  size_bytes: number;
  width?: number;
  height?: number;
  url: string;
  thumbnail_url?: string;
  expires_at_ms: number;
}

// Before an address ends, a new one is asked for.
const EARLY_MS = 60_000;
const KNOWN_MAX = 1000;

// So often a reader sees how far it is, and so much at most is sent again after a break.
const PART_BYTES = 1024 * 1024;

export class Files {
  private readonly known = new Map<string, Promise<StoredFile | null>>();

  constructor(
    private readonly account: Account,
    // Empty where the server takes none.
    private readonly base: string,
  ) {}

  get areOn(): boolean {
    return this.base !== "";
  }

  // null where there is no such file, or nobody to ask.
  async about(fileId: string): Promise<StoredFile | null> {
    const known = await this.known.get(fileId);
    if (known && known.expires_at_ms - EARLY_MS > Date.now()) return known;
    const asked = this.ask(fileId);
    if (this.known.size >= KNOWN_MAX) this.known.clear();
    this.known.set(fileId, asked);
    return asked;
  }

  // Over as many breaks as it takes; fails with the words of the server. `onPart` is told from 0 to 1 how much is there. Goes on with what
  // was begun before, if `begun` says that something was.
  async upload(file: Blob, name: string, begun: { url: string }, onPart: (part: number) => void, signal: AbortSignal): Promise<StoredFile> {
    signal.throwIfAborted();
    const resume = begun.url === "" ? {} : { resume: begun.url };
    const info = await this.uploading.upload(file, { name, signal, ...resume, onBegun: (url) => { begun.url = url; }, onProgress: (sent, total) => onPart(sent / total) });
    return { ...info, file_id: info.fileId, size_bytes: info.sizeBytes, expires_at_ms: info.expiresAtMs };
  }

  // Nobody goes on with it: it takes no place among those of this user. Where that fails, too, the server gives it up after a while.
  giveUp(begun: { url: string }): void {
    if (begun.url !== "") void this.uploading.giveUp(begun.url).catch(() => undefined);
  }

  private get uploading(): Uploading {
    const { user_id: userId, device_id: deviceId, token } = this.account;
    return new Uploading({ url: this.base, userId, deviceId, getToken: () => token, chunkBytes: PART_BYTES });
  }

  private get headers(): Record<string, string> {
    const { user_id, device_id, token } = this.account;
    return { user_id, device_id, token };
  }

  private async ask(fileId: string): Promise<StoredFile | null> {
    if (!this.areOn || !/^[\w-]{1,128}$/.test(fileId)) return null;
    try {
      const response = await fetch(`${this.base}/files/${fileId}/about`, { headers: this.headers, referrerPolicy: "no-referrer" });
      return response.ok ? await response.json() : null;
    } catch {
      // Asked again when it is shown again.
      this.known.delete(fileId);
      return null;
    }
  }
}
