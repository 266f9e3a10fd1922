import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { Run, type Json } from "./vectors.js";

const FOLDER = new URL("../../../vectors/", import.meta.url);

for (const file of readdirSync(FOLDER).filter((name) => name.endsWith(".json")).sort()) {
  const { vectors } = JSON.parse(readFileSync(new URL(file, FOLDER), "utf8"));
  describe(file, () => {
    for (const vector of vectors as Json[]) it(vector.name, () => new Run(vector).run());
  });
}

it("there are vectors", () => assert.ok(readdirSync(FOLDER).length >= 8));
