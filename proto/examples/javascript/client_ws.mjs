// A client over WebSocket: prints the user's inbox, each message once and in order, and sends the lines "USER TEXT" that it
// reads. One binary message is one packet. `connectOnce` runs in a browser as it is.
//
// Usage: node client_ws.mjs USER_ID DEVICE_ID [URL]

import ws from "ws";
import { SILENCE_MS, run } from "./run.mjs";

const WebSocket = globalThis.WebSocket ?? ws; // Node has one of its own from 22 on

function connectOnce(session, url) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    const end = (error) => {
      clearTimeout(alarm);
      socket.close();
      reject(error);
    };
    const listen = () => setTimeout(end, SILENCE_MS, new Error("silent for too long"));
    let alarm = listen();
    socket.onopen = () => session.begin((packet) => socket.send(packet));
    socket.onmessage = ({ data }) => {
      clearTimeout(alarm);
      alarm = listen();
      try {
        session.onPacket(new Uint8Array(data));
      } catch (error) {
        end(error);
      }
    };
    socket.onerror = () => end(new Error("the WebSocket failed"));
    socket.onclose = ({ code, reason }) => end(new Error(`closed: ${code} ${reason}`));
  });
}

const [userId, deviceId, url = "ws://127.0.0.1:8003/ws"] = process.argv.slice(2);
await run(connectOnce, userId, deviceId, url);
