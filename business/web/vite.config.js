import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

// Three files with fixed names, which gim-business has in itself.
export default defineConfig({
  resolve: { alias: { "gim-client": fileURLToPath(new URL("../../proto/sdk/typescript/src/index.ts", import.meta.url)) } },
  build: {
    modulePreload: { polyfill: false },
    rollupOptions: { output: { entryFileNames: "app.js", assetFileNames: "app[extname]" } },
  },
});
