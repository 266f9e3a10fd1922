// Requests of files over HTTP: how long they are waited for, which of them are tried again, and what a refusal says.

import { GimError } from "./client.js";

const FIRST_PAUSE_MS = 500;
const PAUSE_MAX_MS = 15_000;
const TRIES_MAX = 8;
// While the server makes a file of what came (it sends it to a bucket, say), which takes as long as the file is large.
const LOCKED_PAUSE_MAX_MS = 1_000;
const LOCKED_TRIES_MAX = 1_000;

const LOCKED = 423;

// As a server says it of what it cannot read.
export const BAD_REQUEST = 10001;

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
    return [409, LOCKED, 460, 502, 503, 504].includes(this.status);
  }
}

// Nobody answers, the connection broke, or there is no token to ask with.
export class Broken extends TypeError {}

// A request that ends when its app says so, or when it has been waited for for too long.
export class Watched {
  private readonly controller = new AbortController();
  private readonly stop = () => this.controller.abort(this.outer?.reason);

  constructor(private readonly outer: AbortSignal | undefined) {
    if (outer?.aborted) this.stop();
    outer?.addEventListener("abort", this.stop);
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  // Waits so long at most.
  async within<T>(ms: number, work: Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.controller.abort(new Broken("the server of files is silent")), ms);
    try {
      return await work;
    } catch (error) {
      if (this.outer?.aborted) throw this.outer.reason;
      throw new Broken("the connection to the server of files broke", { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  end(): void {
    this.outer?.removeEventListener("abort", this.stop);
    this.controller.abort();
  }
}

export function refusalOf(status: number, text: string): FileRefused {
  const { code, message } = problemOf(text);
  return new FileRefused(status, code ?? BAD_REQUEST, message ?? `the server answers ${status}`);
}

export function unreadable(): GimError {
  return new GimError(BAD_REQUEST, "the answer of the server of files makes no sense");
}

function problemOf(text: string): { code?: number; message?: string } {
  try {
    return (JSON.parse(text) ?? {}) as { code?: number; message?: string };
  } catch {
    // Of an answer to HEAD, or of a proxy, there is nothing else.
    return {};
  }
}

// Asks until the server answers, or refuses for good.
export async function persistently<T>(ask: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  let [tries, lockedTries, pauseMs] = [0, 0, FIRST_PAUSE_MS];
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      const isLocked = error instanceof FileRefused && error.status === LOCKED;
      const isForNow = error instanceof Broken || (error instanceof FileRefused && error.isForNow);
      [tries, lockedTries] = isLocked ? [0, lockedTries + 1] : [tries + 1, lockedTries];
      if (signal?.aborted || !isForNow || tries === TRIES_MAX || lockedTries === LOCKED_TRIES_MAX) throw error;
      pauseMs = Math.min(pauseMs, isLocked ? LOCKED_PAUSE_MAX_MS : PAUSE_MAX_MS);
    }
    await pause(pauseMs * (0.5 + Math.random() / 2), signal);
    pauseMs *= 2;
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
