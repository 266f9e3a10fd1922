// Files on the server: what is uploaded, and addresses by which it can be read for a while. A message has the id of a file.

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

  // Fails with the words of the server. `onPart` is told from 0 to 1 how much is there.
  async upload(file: Blob, name: string, onPart: (part: number) => void, signal: AbortSignal): Promise<StoredFile> {
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", `${this.base}/files?name=${encodeURIComponent(name)}`);
      for (const [header, value] of Object.entries(this.headers)) request.setRequestHeader(header, value);
      request.upload.onprogress = ({ loaded, total }) => onPart(total > 0 ? loaded / total : 0);
      request.onload = () => {
        const answer = readJson(request.responseText);
        if (request.status < 300 && answer) resolve(answer as StoredFile);
        else reject(new Error(String((answer as { message?: string } | null)?.message ?? request.status)));
      };
      request.onerror = () => reject(new Error("no connection"));
      request.onabort = () => reject(signal.reason);
      signal.addEventListener("abort", () => request.abort());
      request.send(file);
    });
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

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
