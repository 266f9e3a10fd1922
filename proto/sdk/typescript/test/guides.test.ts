// The code of the guides is code: it compiles.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const GUIDES = join(ROOT, "../guides");

// What a block may use without saying where it comes from.
const KNOWN = `import { Client as ClientType, type Message } from "../../src/index.js";
import { Files } from "../../src/files.js";
declare const client: ClientType;
declare const message: Message;
declare const target: { kind: "user"; id: string };
declare const bytes: Uint8Array<ArrayBuffer>;
declare const picture: File;
declare const getToken: () => string;
`;

it("the code of the guides compiles", () => {
  const folder = join(ROOT, "build/guides");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  let count = 0;
  for (const page of readdirSync(GUIDES)) {
    for (const [, code] of readFileSync(join(GUIDES, page), "utf8").matchAll(/^```ts\n(.*?)^```$/gms)) {
      const imports = `import { Client, GimError, IndexedDbStore, LOCAL_CODE, contentOf, conversationOf, noticeOf, previewOf, textOf } from "../../src/index.js";\n`;
      writeFileSync(join(folder, `${page.replace(".md", "")}-${count++}.ts`), `${imports}${KNOWN}async function body() {\n${code}}\nvoid [body, Client, GimError, IndexedDbStore, LOCAL_CODE, contentOf, conversationOf, noticeOf, previewOf, textOf];\n`);
    }
  }
  assert.ok(count >= 8, "the guides have code");
  const options = ["--noEmit", "--strict", "--target", "ES2022", "--module", "NodeNext", "--lib", "ES2023,DOM,DOM.Iterable", "--types", "node", "--skipLibCheck", "--ignoreConfig"];
  execFileSync(join(ROOT, "node_modules/.bin/tsc"), [...options, ...readdirSync(folder).map((name) => join(folder, name))], { cwd: ROOT, stdio: "inherit" });
});
