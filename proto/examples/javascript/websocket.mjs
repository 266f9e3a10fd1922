// One connection over WebSocket, in a browser and in Node: one binary message is one packet.

import { SILENCE_MS } from "./session.mjs";

// Connects, begins the session, gives it what comes, and is rejected when the connection ended.
export function connectOnce(session, url) {
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
