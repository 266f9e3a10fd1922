// The content of PC_CALL, `CallRequest { method = 1; body = 2 }`.

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

export function encodeCall(method: string, body: Uint8Array): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).string(method);
  if (body.length > 0) writer.tag(2, WireType.LengthDelimited).bytes(body);
  return writer.finish();
}
