import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

// Four files with fixed names, which gim-business has in itself. The page may be in a folder of a proxy, so it names them without a slash.
export default defineConfig({
  base: "./",
  resolve: { alias: { "gim-client/files": fileURLToPath(new URL("../../proto/sdk/typescript/src/files.ts", import.meta.url)), "gim-client": fileURLToPath(new URL("../../proto/sdk/typescript/src/index.ts", import.meta.url)) } },
  build: {
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: { app: "index.html", worker: "src/worker.ts" },
      output: { entryFileNames: "[name].js", assetFileNames: "app[extname]" },
    },
  },
});
