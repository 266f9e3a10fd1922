// Keeps a session connected, waiting longer after each failure, and lets it send the lines "USER TEXT" of standard input.

import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import protobuf from "protobufjs";
import { Ended, HEARTBEAT_S, Session } from "./session.mjs";

const FIRST_WAIT_MS = 500, LONGEST_WAIT_MS = 30_000;

const PROTO = fileURLToPath(new URL("../../proto/logic.proto", import.meta.url));

// `connectOnce(session, address)` connects, begins the session, gives it what comes, and settles when the connection ended.
export async function run(connectOnce, userId, deviceId, home) {
  const proto = new protobuf.Root();
  proto.loadSync(PROTO, { keepCase: true });
  const session = new Session(proto, userId, deviceId, `ticket for ${userId}`, (seq, text) => console.log(seq, text));
  createInterface({ input: process.stdin }).on("line", (line) => {
    const space = line.indexOf(" ");
    session.send(line.slice(0, space), line.slice(space + 1));
  });
  setInterval(() => session.heartbeat(), 1000 * HEARTBEAT_S);
  setInterval(() => session.retry(), 1000);
  let wait = FIRST_WAIT_MS, address = home;
  for (;;) {
    const began = Date.now();
    try {
      await connectOnce(session, address);
    } catch (error) {
      if (error instanceof Ended) {
        console.error(`ended: ${error.message}`);
        process.exit(1);
      }
      console.error(`disconnected: ${error.message}`);
    }
    session.isLive = false;
    if (Date.now() - began > LONGEST_WAIT_MS) wait = FIRST_WAIT_MS;
    const advice = session.takeAdvice();
    address = advice.endpoint || home;
    await sleep(Math.max(advice.reconnect_after_ms ?? 0, wait / 2 + Math.random() * wait / 2));
    wait = Math.min(2 * wait, LONGEST_WAIT_MS);
  }
}
