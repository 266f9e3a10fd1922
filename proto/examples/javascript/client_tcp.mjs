// A client over TCP: prints the user's inbox, each message once and in order, and sends the lines "USER TEXT" that it reads.
//
// Usage: node client_tcp.mjs USER_ID DEVICE_ID [HOST:PORT]

import net from "node:net";
import { run } from "./run.mjs";
import { SILENCE_MS } from "./session.mjs";

// The packet behind its length: seven bits a byte, the lowest first, the eighth bit set in all bytes but the last.
function frame(packet) {
  const prefix = [];
  let length = packet.length;
  for (; length > 127; length >>>= 7) prefix.push((length & 127) | 128);
  return Buffer.concat([Buffer.from([...prefix, length]), packet]);
}

// Where the first packet of `bytes` lies, if all of it is there.
function firstFrame(bytes) {
  let length = 0;
  for (let at = 0; at < Math.min(bytes.length, 5); at++) {
    length += (bytes[at] & 127) * 2 ** (7 * at);
    if (bytes[at] < 128) return bytes.length > at + length ? { start: at + 1, end: at + 1 + length } : null;
  }
  return null;
}

function connectOnce(session, address) {
  const [, host, port] = address.match(/^(.*):(\d+)$/);
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port: Number(port), timeout: SILENCE_MS });
    let received = Buffer.alloc(0);
    socket.on("connect", () => session.begin((packet) => socket.write(frame(packet))));
    socket.on("data", (chunk) => {
      received = Buffer.concat([received, chunk]);
      try {
        for (let found; (found = firstFrame(received)); received = received.subarray(found.end)) {
          session.onPacket(received.subarray(found.start, found.end));
        }
      } catch (error) {
        socket.destroy(error);
      }
    });
    socket.on("timeout", () => socket.destroy(new Error("silent for too long")));
    socket.on("error", reject);
    socket.on("close", resolve);
  });
}

const [userId, deviceId, address = "127.0.0.1:8002"] = process.argv.slice(2);
await run(connectOnce, userId, deviceId, address);
