// Files: uploads that go on where they broke off (tus 1.0), and URLs by which files are read. Over HTTP, beside the connection of `Client`,
// and a part of its own (`gim-client/files`), which apps without files do not load.

import { GimError } from "./client.js";
import type { Id } from "./wire.js";

const CHUNK_BYTES = 4 * 1024 * 1024;
const FIRST_PAUSE_MS = 500;
const PAUSE_MAX_MS = 15_000;
const TRIES_MAX = 8;

// As a server says it of what it cannot read.
const BAD_REQUEST = 10001;
const UNAUTHENTICATED = 401;

export interface FilesOptions {
  // Where files are, as in "https://files.example.com".
  url: string;
  userId: Id;
  deviceId: Id;
  // As that of `Client`. null: there is none, and the request fails.
  getToken: (why: { wasRefused: boolean }) => Promise<string | null> | string | null;
  // Bytes of one request: after a break so many at most are sent again.
  chunkBytes?: number;
}

export interface UploadOptions {
  name?: string;
  // Aborting it stops the upload; what came is kept for a while, and `resume` goes on.
  signal?: AbortSignal;
  // The URL of an upload of the same file that was begun before.
  resume?: string;
  // Told once, before any byte is sent: an app that keeps it can go on after a restart.
  onBegun?: (uploadUrl: string) => void;
  onProgress?: (sentBytes: number, totalBytes: number) => void;
}

export interface FileInfo {
  fileId: string;
  name: string;
  // The media type that its bytes say.
  kind: string;
  sizeBytes: number;
  // Of what a download gives, in hexadecimal digits.
  sha256: string;
  // "unchecked": it can be read after somebody has looked at it.
  state: "good" | "unchecked" | "refused";
  // Of a picture, as it is shown; else 0.
  width: number;
  height: number;
  // These can be read by anybody until then; `about` gives new ones.
  url: string;
  thumbnailUrl?: string;
  expiresAtMs: number;
}

export class Files {
  private readonly base: string;

  constructor(private readonly options: FilesOptions) {
    this.base = options.url.replace(/\/+$/, "");
  }

  // Uploads a file, over as many breaks as it takes. Rejects with a GimError where the server refuses it.
  async upload(file: Blob, options: UploadOptions = {}): Promise<FileInfo> {
    if (file.size === 0) throw new GimError(BAD_REQUEST, "a file needs at least one byte");
    const name = options.name ?? ("name" in file && typeof file.name === "string" ? file.name : "");
    let url = options.resume === undefined ? "" : `${this.base}/uploads/${fileIdOf(options.resume)}`;
    if (url === "") {
      url = await this.persistently(() => this.begin(file.size, name, options.signal), options.signal);
      options.onBegun?.(url);
    }
    let offset = options.resume === undefined ? 0 : await this.persistently(() => this.resumed(url, file.size, options.signal), options.signal);
    options.onProgress?.(offset, file.size);
    while (offset < file.size) {
      let isFirst = true;
      offset = await this.persistently(async () => {
        // After a break the server says what it has.
        if (!isFirst) offset = await this.offset(url, options.signal);
        isFirst = false;
        return offset < file.size ? this.append(url, file, offset, options.signal) : offset;
      }, options.signal);
      options.onProgress?.(offset, file.size);
    }
    return this.persistently(() => this.about(url, options.signal), options.signal);
  }

  // What a file is, with URLs that are good from now on. By its id, or by any URL of it, also one that has expired.
  async about(idOrUrl: string, signal?: AbortSignal): Promise<FileInfo> {
    const answer = await this.ask("GET", `${this.base}/files/${fileIdOf(idOrUrl)}/about`, { signal });
    return infoOf(await answer.json());
  }

  // Gives up an upload that is not whole.
  async giveUp(uploadUrl: string): Promise<void> {
    await this.ask("DELETE", `${this.base}/uploads/${fileIdOf(uploadUrl)}`, {});
  }

  private async begin(length: number, name: string, signal?: AbortSignal): Promise<string> {
    const headers = { "upload-length": String(length), "upload-metadata": `filename ${base64(name)}` };
    const answer = await this.ask("POST", `${this.base}/uploads`, { headers, signal });
    const location = answer.headers.get("location");
    if (location === null) throw new GimError(BAD_REQUEST, "the server does not say where the upload is");
    // Where a proxy stands before the server it is this address that leads there.
    return `${this.base}/uploads/${fileIdOf(location)}`;
  }

  private async offset(url: string, signal?: AbortSignal): Promise<number> {
    const answer = await this.ask("HEAD", url, { signal });
    return Number(answer.headers.get("upload-offset"));
  }

  // The same of an upload that was begun before, which has to be of a file of this length.
  private async resumed(url: string, length: number, signal?: AbortSignal): Promise<number> {
    const answer = await this.ask("HEAD", url, { signal });
    if (Number(answer.headers.get("upload-length")) !== length) throw new GimError(BAD_REQUEST, "the upload is that of another file");
    return Number(answer.headers.get("upload-offset"));
  }

  private async append(url: string, file: Blob, offset: number, signal?: AbortSignal): Promise<number> {
    const body = file.slice(offset, Math.min(offset + (this.options.chunkBytes ?? CHUNK_BYTES), file.size));
    const headers = { "upload-offset": String(offset), "content-type": "application/offset+octet-stream" };
    const answer = await this.ask("PATCH", url, { headers, body, signal });
    return Number(answer.headers.get("upload-offset"));
  }

  private async ask(method: string, url: string, ask: Ask, wasRefused = false): Promise<Response> {
    const token = (await this.options.getToken({ wasRefused })) ?? "";
    const who = { user_id: String(this.options.userId), device_id: String(this.options.deviceId), token };
    const headers = { ...ask.headers, ...who, "tus-resumable": "1.0.0" };
    const answer = await fetch(url, { method, headers, body: ask.body ?? null, signal: ask.signal ?? null });
    if (answer.ok) return answer;
    if (answer.status === UNAUTHENTICATED && !wasRefused) return this.ask(method, url, ask, true);
    const problem = (await answer.json().catch(() => null)) as { code?: number; message?: string } | null;
    throw new FileRefused(answer.status, problem?.code ?? BAD_REQUEST, problem?.message ?? `the server answers ${answer.status}`);
  }

  // Asks until the server answers, or refuses for good.
  private async persistently<T>(ask: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await ask();
      } catch (error) {
        const isForGood = error instanceof FileRefused ? !error.isForNow : !(error instanceof TypeError);
        if (signal?.aborted || isForGood || tries === TRIES_MAX) throw error;
      }
      await pause(Math.min(FIRST_PAUSE_MS * 2 ** (tries - 1), PAUSE_MAX_MS) * (0.5 + Math.random() / 2), signal);
    }
  }
}

// The id in a URL of a file or of an upload; an id as it is.
export function fileIdOf(idOrUrl: string): string {
  const id = /(?:^|\/(?:files|uploads)\/)([0-9a-f]{32})(?:[/?#]|$)/.exec(idOrUrl)?.[1];
  if (id === undefined) throw new TypeError("this is no id or URL of a file");
  return id;
}

interface Ask {
  headers?: Record<string, string>;
  body?: Blob;
  signal?: AbortSignal | undefined;
}

// What a server of files does not do, with the status of HTTP: 404 where there is no such file or upload.
export class FileRefused extends GimError {
  constructor(
    readonly status: number,
    code: number,
    message: string,
  ) {
    super(code, message);
  }

  // Another offset, another writer, too much at once (10003 of the day's quota is for good), or a server that is away.
  get isForNow(): boolean {
    return [409, 423, 460, 502, 503, 504].includes(this.status);
  }
}

function infoOf(json: unknown): FileInfo {
  const told = json as { file_id: string; name: string; kind: string; size_bytes: number; sha256: string; state: FileInfo["state"]; width?: number; height?: number; url: string; thumbnail_url?: string; expires_at_ms: number };
  return {
    fileId: told.file_id,
    name: told.name,
    kind: told.kind,
    sizeBytes: told.size_bytes,
    sha256: told.sha256,
    state: told.state,
    width: told.width ?? 0,
    height: told.height ?? 0,
    url: told.url,
    ...(told.thumbnail_url === undefined ? {} : { thumbnailUrl: told.thumbnail_url }),
    expiresAtMs: told.expires_at_ms,
  };
}

function base64(text: string): string {
  return btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));
}

function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    }, { once: true });
  });
}
