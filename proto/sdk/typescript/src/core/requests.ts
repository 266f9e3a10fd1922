// Requests of the app that are none of the client's own: calls of services and commands of a backend. Each is answered once,
// whatever happens: by the server, by its deadline, or because the connection broke.

import { CODE, isPutOff } from "../wire.js";
import type { Answer } from "./types.js";

// Codes of answers that are not the server's.
export const LOCAL_CODE = { CONNECTION_LOST: -1, TIMEOUT: -2, STOPPED: -3, TOO_MANY_WAITING: -4, TOO_LARGE: 10002 };

const REQUESTS_MAX = 256;

export interface AppRequest {
  requestId: string;
  command: number;
  content: Uint8Array;
  // Whether it may be sent again where nobody knows if the server did it: reads are.
  isRepeatable: boolean;
  deadlineMs: number;
}

interface Waiting extends AppRequest {
  isUnderWay: boolean;
  notBeforeMs: number;
}

export class Requests {
  private readonly waiting = new Map<string, Waiting>();

  constructor(private readonly answer: (requestId: string, answer: Answer) => void) {}

  add(request: AppRequest): void {
    if (this.waiting.size >= REQUESTS_MAX) this.refuse(request.requestId, LOCAL_CODE.TOO_MANY_WAITING, "too many requests wait");
    else this.waiting.set(request.requestId, { ...request, isUnderWay: false, notBeforeMs: 0 });
  }

  takeReady(nowMs: number): AppRequest[] {
    const ready = [...this.waiting.values()].filter((request) => !request.isUnderWay && request.notBeforeMs <= nowMs);
    for (const request of ready) request.isUnderWay = true;
    return ready;
  }

  // Returns whether it asks for a new sign-in.
  settle(requestId: string, answer: Answer, nowMs: number): boolean {
    const request = this.waiting.get(requestId);
    if (!request) return false;
    if (request.isRepeatable && isPutOff(answer.code)) {
      request.isUnderWay = false;
      request.notBeforeMs = nowMs + 1000;
      return false;
    }
    if (answer.code === CODE.SIGN_IN_AGAIN && request.isRepeatable) return true;
    this.waiting.delete(requestId);
    this.answer(requestId, answer);
    return answer.code === CODE.SIGN_IN_AGAIN;
  }

  disconnected(): void {
    for (const request of [...this.waiting.values()]) {
      if (request.isUnderWay && !request.isRepeatable) {
        this.refuse(request.requestId, LOCAL_CODE.CONNECTION_LOST, "the connection broke before the answer came");
      }
      request.isUnderWay = false;
      request.notBeforeMs = 0;
    }
  }

  advance(nowMs: number): void {
    for (const request of [...this.waiting.values()]) {
      if (request.deadlineMs <= nowMs) this.refuse(request.requestId, LOCAL_CODE.TIMEOUT, "no answer came in time");
    }
  }

  cancel(requestId: string): void {
    this.waiting.delete(requestId);
  }

  stop(): void {
    for (const requestId of [...this.waiting.keys()]) this.refuse(requestId, LOCAL_CODE.STOPPED, "the client was stopped");
  }

  deadlineMs(isLive: boolean): number {
    let deadline = Infinity;
    for (const request of this.waiting.values()) {
      deadline = Math.min(deadline, request.deadlineMs);
      if (isLive && !request.isUnderWay) deadline = Math.min(deadline, request.notBeforeMs);
    }
    return deadline;
  }

  private refuse(requestId: string, code: number, message: string): void {
    this.waiting.delete(requestId);
    this.answer(requestId, { code, message, data: new Uint8Array() });
  }
}
