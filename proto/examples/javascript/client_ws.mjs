// A client over WebSocket: prints the user's inbox, each message once and in order, and sends the lines "USER TEXT" that it
// reads.
//
// Usage: node client_ws.mjs USER_ID DEVICE_ID [URL]

import ws from "ws";
import { run } from "./run.mjs";
import { connectOnce } from "./websocket.mjs";

globalThis.WebSocket ??= ws; // Node has one of its own from 22 on

const [userId, deviceId, url = "ws://127.0.0.1:8003/ws"] = process.argv.slice(2);
await run(connectOnce, userId, deviceId, url);
