// What is published: its size, and that what is generated is what the .proto files say.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const GZIP_BYTES_MAX = 40 * 1024;

it("the bundle has 40 KB at most, with all that it needs", async () => {
  const { outputFiles } = await build({ entryPoints: [join(ROOT, "src/index.ts")], bundle: true, minify: true, format: "esm", platform: "browser", write: false });
  const bytes = gzipSync(outputFiles[0]!.contents, { level: 9 }).length;
  console.log(`the bundle has ${bytes} bytes in gzip`);
  assert.ok(bytes <= GZIP_BYTES_MAX, `the bundle has ${bytes} bytes in gzip`);
});

it("the generated code is what the .proto files say", () => {
  const folder = mkdtempSync(join(tmpdir(), "gim-generated-"));
  try {
    const template = readFileSync(join(ROOT, "buf.gen.yaml"), "utf8").replace("out: src/generated", `out: ${folder}`).replace("clean: true\n", "");
    execFileSync(join(ROOT, "node_modules/.bin/buf"), ["generate", "--template", template], { cwd: ROOT });
    const committed = join(ROOT, "src/generated");
    assert.deepEqual(readdirSync(folder).sort(), readdirSync(committed).sort());
    for (const file of readdirSync(folder)) {
      assert.equal(readFileSync(join(folder, file), "utf8"), readFileSync(join(committed, file), "utf8"), `${file}: run \`npm run generate\``);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
