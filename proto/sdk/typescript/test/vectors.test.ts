import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { contentOf, previewOf, type Message } from "../src/index.js";
import { Run, type Json } from "./vectors.js";

const FOLDER = new URL("../../../vectors/", import.meta.url);

const CONTENTS = "contents.json";

for (const file of readdirSync(FOLDER).filter((name) => name.endsWith(".json") && name !== CONTENTS).sort()) {
  const { vectors } = JSON.parse(readFileSync(new URL(file, FOLDER), "utf8"));
  describe(file, () => {
    for (const vector of vectors as Json[]) it(vector.name, () => new Run(vector).run());
  });
}

it("there are vectors", () => assert.ok(readdirSync(FOLDER).length >= 8));

describe(CONTENTS, () => {
  const { contents } = JSON.parse(readFileSync(new URL(CONTENTS, FOLDER), "utf8")) as { contents: Json[] };
  for (const one of contents) {
    it(one.name, () => {
      const content = new Uint8Array(Buffer.from(one.content, "hex"));
      const from = { userId: "7", deviceId: "70", nickname: "", avatarUrl: "", extra: "" };
      const message = { command: one.command, content, from } as Message;
      assert.equal(contentOf(message)?.kind ?? null, one.kind);
      assert.equal(previewOf(message), one.preview);
    });
  }
});
