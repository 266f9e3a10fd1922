// Files: uploads that go on where they broke off (tus 1.0), downloads that do, and URLs by which files are read. Over HTTP, beside the
// connection of `Client`, and a part of its own (`gim-client/files`), which apps without files do not load.

import { GimError } from "./client.js";
import { BAD_REQUEST, Broken, FileRefused, persistently, refusalOf, unreadable, Watched } from "./http.js";
import type { Id } from "./wire.js";

export { FileRefused };

const CHUNK_BYTES = 4 * 1024 * 1024;
const SILENCE_MAX_MS = 20_000;
// The slowest line on which parts go through.
const BYTES_PER_MS_MIN = 8;

const PARTIAL_CONTENT = 206;
const UNAUTHENTICATED = 401;
const FORBIDDEN = 403;
const RANGE_NOT_SATISFIABLE = 416;

export interface FilesOptions {
  // Where files are, as in "https://files.example.com".
  url: string;
  userId: Id;
  deviceId: Id;
  // As that of `Client`. null: there is none, and the request fails.
  getToken: (why: { wasRefused: boolean }) => Promise<string | null> | string | null;
  // Bytes of one request: after a break so many at most are sent again.
  chunkBytes?: number;
  // How long the server may be silent, but for what is sent, before it is tried again: 20 seconds, unless this says otherwise.
  silenceMaxMs?: number;
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

export interface DownloadOptions {
  // Aborting it stops the download; an app that keeps what was written goes on by `from`.
  signal?: AbortSignal;
  // How many bytes of the file an earlier download has written: it goes on behind them.
  from?: number;
  onProgress?: (readBytes: number, totalBytes: number) => void;
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

  // Uploads a file, over as many breaks as it takes. Rejects with a GimError where the server refuses it, and with a TypeError where nobody
  // answers for too long.
  async upload(file: Blob, options: UploadOptions = {}): Promise<FileInfo> {
    if (file.size === 0) throw new GimError(BAD_REQUEST, "a file needs at least one byte");
    const name = options.name ?? ("name" in file && typeof file.name === "string" ? file.name : "");
    let url = options.resume === undefined ? "" : `${this.base}/uploads/${fileIdOf(options.resume)}`;
    if (url === "") {
      url = await persistently(() => this.begin(file.size, name, options.signal), options.signal);
      options.onBegun?.(url);
    }
    let offset = options.resume === undefined ? 0 : await persistently(() => this.resumed(url, file.size, options.signal), options.signal);
    options.onProgress?.(offset, file.size);
    while (offset < file.size) {
      let isFirst = true;
      offset = await persistently(async () => {
        // After a break the server says what it has.
        if (!isFirst) offset = await this.offset(url, options.signal);
        isFirst = false;
        return offset < file.size ? this.append(url, file, offset, options.signal) : offset;
      }, options.signal);
      options.onProgress?.(offset, file.size);
    }
    return this.about(url, options.signal);
  }

  // Hands a file to `write` as it comes, which may return a promise that is waited for, over as many breaks as it takes; by its id, or by any
  // URL of it, also one that has expired. Returns how many bytes it has. Rejects as `upload` does, and with what `write` throws.
  async download(idOrUrl: string, write: (bytes: Uint8Array<ArrayBuffer>) => unknown, options: DownloadOptions = {}): Promise<number> {
    const isThumbnail = /\/thumbnail(?:[?#]|$)/.test(idOrUrl);
    const query = /\?([^#]*signature=[^#]*)/.exec(idOrUrl)?.[1] ?? "";
    const download: Download = { fileId: fileIdOf(idOrUrl), isThumbnail, query, isNewUrl: false, done: options.from ?? 0, total: null };
    while (download.total === null || download.done < download.total) {
      await persistently(() => this.readOn(download, write, options), options.signal);
    }
    return download.total;
  }

  // A file that fits into memory.
  async read(idOrUrl: string, options: Omit<DownloadOptions, "from"> = {}): Promise<Blob> {
    const parts: Uint8Array<ArrayBuffer>[] = [];
    await this.download(idOrUrl, (bytes) => parts.push(bytes), options);
    return new Blob(parts);
  }

  // What a file is, with URLs that are good from now on. By its id, or by any URL of it, also one that has expired.
  async about(idOrUrl: string, signal?: AbortSignal): Promise<FileInfo> {
    return persistently(() => this.aboutNow(fileIdOf(idOrUrl), signal), signal);
  }

  // Gives up an upload; one that is a file by now is taken back: nobody can read it any more. By its id, or any URL of it.
  async giveUp(idOrUrl: string): Promise<void> {
    await this.ask("DELETE", `${this.base}/uploads/${fileIdOf(idOrUrl)}`, {});
  }

  private async aboutNow(fileId: string, signal?: AbortSignal): Promise<FileInfo> {
    return infoOf((await this.ask("GET", `${this.base}/files/${fileId}/about`, { signal })).text);
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

  // Reads until the end, or a break. What is left after that comes by another request, as if it were the first one.
  private async readOn(download: Download, write: (bytes: Uint8Array<ArrayBuffer>) => unknown, options: DownloadOptions): Promise<void> {
    const watched = new Watched(options.signal);
    try {
      const answer = await this.begun(download, watched, options.signal);
      if (answer === null) return;
      const { reader, begin, total } = answer;
      options.onProgress?.(begin, total);
      for (;;) {
        const next = await watched.within(this.silenceMaxMs, reader.read()).catch((error: unknown) => {
          if (options.signal?.aborted || download.done === begin) throw error;
          return { done: true as const, value: undefined };
        });
        if (next.done) break;
        await write(next.value);
        download.done += next.value.length;
        options.onProgress?.(download.done, total);
      }
      if (download.done === begin) throw new Broken("the download broke off");
    } finally {
      watched.end();
    }
  }

  // Asks for what is left of a file; null where the next request is to do that, or nothing is left.
  private async begun(download: Download, watched: Watched, signal: AbortSignal | undefined): Promise<Begun | null> {
    if (download.query === "") await this.renew(download, signal);
    const begin = download.done;
    const url = `${this.base}/files/${download.fileId}${download.isThumbnail ? "/thumbnail" : ""}?${download.query}`;
    // Whoever has the URL may read: nobody has to know who that is.
    const headers = begin > 0 ? { range: `bytes=${begin}-` } : undefined;
    const answer = await watched.within(this.silenceMaxMs, fetch(url, { ...(headers && { headers }), signal: watched.signal }));
    if (answer.status === RANGE_NOT_SATISFIABLE && answer.headers.get("content-range") === `bytes */${begin}`) {
      download.total = begin;
      return null;
    }
    if (answer.status === FORBIDDEN && !download.isNewUrl) {
      download.query = "";
      return null;
    }
    if (!answer.ok) throw refusalOf(answer.status, await watched.within(this.silenceMaxMs, answer.text()));
    const length = answer.headers.get("content-length");
    if (length === null || answer.body === null || (begin > 0 && answer.status !== PARTIAL_CONTENT)) throw unreadable();
    download.isNewUrl = false;
    download.total = begin + Number(length);
    return { reader: answer.body.getReader(), begin, total: download.total };
  }

  private async renew(download: Download, signal: AbortSignal | undefined): Promise<void> {
    const info = await this.aboutNow(download.fileId, signal);
    const url = download.isThumbnail ? info.thumbnailUrl : info.url;
    if (url === undefined) throw new GimError(BAD_REQUEST, "the file has no thumbnail");
    download.query = url.split("?")[1] ?? "";
    download.isNewUrl = true;
  }

  private get silenceMaxMs(): number {
    return this.options.silenceMaxMs ?? SILENCE_MAX_MS;
  }

  private async ask(method: string, url: string, ask: Ask, wasRefused = false): Promise<Answer> {
    const who = { user_id: String(this.options.userId), device_id: String(this.options.deviceId), token: await this.token(wasRefused) };
    const headers = { ...ask.headers, ...who, "tus-resumable": "1.0.0" };
    const watched = new Watched(ask.signal);
    try {
      const silenceMaxMs = this.silenceMaxMs + (ask.body?.size ?? 0) / BYTES_PER_MS_MIN;
      const answer = await watched.within(silenceMaxMs, fetch(url, { method, headers, body: ask.body ?? null, signal: watched.signal }));
      const text = await watched.within(this.silenceMaxMs, answer.text());
      if (answer.ok) return { headers: answer.headers, text };
      if (answer.status !== UNAUTHENTICATED || wasRefused) throw refusalOf(answer.status, text);
    } finally {
      watched.end();
    }
    return this.ask(method, url, ask, true);
  }

  private async token(wasRefused: boolean): Promise<string> {
    try {
      return (await this.options.getToken({ wasRefused })) ?? "";
    } catch (error) {
      throw new Broken("there is no token", { cause: error });
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

interface Answer {
  headers: Headers;
  text: string;
}

// How far a download is.
interface Download {
  fileId: string;
  isThumbnail: boolean;
  // What stands behind the question mark of its URL; empty where another one has to be asked for.
  query: string;
  isNewUrl: boolean;
  done: number;
  total: number | null;
}

interface Begun {
  reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>;
  begin: number;
  total: number;
}

function infoOf(json: string): FileInfo {
  const told = JSON.parse(json) as { file_id: string; name: string; kind: string; size_bytes: number; sha256: string; state: FileInfo["state"]; width?: number; height?: number; url: string; thumbnail_url?: string; expires_at_ms: number };
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
