// The chat page in a folder of a proxy, as an operator puts it beside other pages.

import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import type { Desk } from "./desk.js";
import type { Services } from "./services.js";

const FOLDER = "/chat";

// `open` opens a page at an address, and signs a user in there.
export async function behindAProxy(services: Services, open: (address: string, phone: string) => Promise<Desk>): Promise<void> {
  const proxy = createServer((asked, answer) => {
    if (!asked.url?.startsWith(`${FOLDER}/`)) return answer.writeHead(404).end();
    const { method, headers } = asked;
    const passed = request({ host: "127.0.0.1", port: services.port(8022), path: asked.url.slice(FOLDER.length), method, headers }, (found) => {
      answer.writeHead(found.statusCode!, found.headers);
      found.pipe(answer);
    });
    passed.on("error", () => answer.destroy());
    asked.pipe(passed);
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  try {
    const flo = await open(`http://127.0.0.1:${(proxy.address() as AddressInfo).port}${FOLDER}/`, "+8613900000016");
    await flo.goTo("room/79");
    await flo.write("Hello from a folder");
    await flo.hears("Hello from a folder");
    console.log("live: on the page: it works in a folder of a proxy");
  } finally {
    proxy.close();
    proxy.closeAllConnections();
  }
}
