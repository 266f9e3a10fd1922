// @connectrpc/connect-web in both of its protocols, with the messages of the .proto files as protoc compiled them.
// Usage: node client.mjs BASE_URL DESCRIPTORS PHONE_NUMBER; it prints what came of it, one line for each transport.
import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";

const [baseUrl, descriptors, phoneNumber] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
const service = name => registry.getService(name);

const TRANSPORTS = {
  "Connect in JSON": createConnectTransport({ baseUrl }),
  "Connect in binary": createConnectTransport({ baseUrl, useBinaryFormat: true }),
  "gRPC-Web": createGrpcWebTransport({ baseUrl }),
};

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  const users = createClient(service("business.UserExtService"), transport);
  const messages = createClient(service("logic.MessageExtService"), transport);
  const groups = createClient(service("logic.GroupExtService"), transport);
  const { userId, deviceId, token } = await users.signIn({ phoneNumber, code: "123456", device: { type: 5 } });
  const headers = { user_id: `${userId}`, device_id: `${deviceId}`, token };
  const content = new TextEncoder().encode(name);
  await messages.send({ target: { case: "userId", value: userId }, command: 2001, content, clientMsgId: name }, { headers });
  const synced = await messages.sync({}, { headers });
  const last = new TextDecoder().decode(synced.messages.at(-1).content);
  const mine = await groups.listMine({}, { headers });
  const refused = await messages.sync({}).then(() => "nobody was asked for", error => ConnectError.from(error));
  console.log(`${name}: ${last.endsWith(name)}, ${mine.groups?.length ?? 0} groups, code ${refused.code}`);
}
