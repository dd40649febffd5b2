import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { defineConfig, type Plugin } from "vite";

const HERE = import.meta.dirname;
const SOURCES = ["src", "notices", "index.html", "package-lock.json", "package.json", "tsconfig.json", "vite.config.ts"];

/** Files below a path, with forward slashes, in the order of their names. */
function filesOf(path: string): string[] {
  const found = readdirSync(HERE, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes("node_modules"))
    .map((entry) => relative(HERE, join(entry.parentPath, entry.name)).split(sep).join("/"));
  return found.filter((name) => name === path || name.startsWith(`${path}/`));
}

/** SHA-256 over "name\0bytes\0" of every source; tests/stages/serve/http/test_bundle.py computes the same. */
function sourceHash(): string {
  const hash = createHash("sha256");
  for (const name of SOURCES.flatMap(filesOf).sort())
    hash
      .update(`${name}\0`)
      .update(readFileSync(join(HERE, name)))
      .update("\0");
  return hash.digest("hex");
}

/** The hash of the sources goes into the page, and the licences of what is bundled lie beside it. */
function record(): Plugin {
  const packages = [
    "@niivue/niivue",
    "@lukeed/csprng",
    "@lukeed/uuid",
    "@ungap/structured-clone",
    "array-equal",
    "fflate",
    "gl-matrix",
    "nifti-reader-js",
  ];
  return {
    name: "record",
    transformIndexHtml: (html) => html.replace("SOURCE_HASH", sourceHash()),
    generateBundle() {
      const texts = packages.map((name) => noticeOf(name)).join("\n\n");
      const escaped = texts.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
      const page = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Notices</title><main><h1>Notices</h1><pre>${escaped}</pre></main></html>\n`;
      this.emitFile({ type: "asset", fileName: "notices.html", source: page });
    },
  };
}

/** NiiVue computes gradients for lit volumes whenever a window changes, also where no light is used, as here: seconds for a large volume, and twice its memory. */
function unlit(): Plugin {
  const call = "this.gradientTexture = gradientGL({";
  return {
    name: "unlit",
    transform(code, id) {
      if (!id.includes("niivue") || !code.includes(call)) return null;
      return code.replaceAll(call, `if (this.gradientTextureAmount > 0) ${call}`);
    },
  };
}

/** Name, version, licence and, where the package carries one, its licence text. */
function noticeOf(name: string): string {
  const folder = join(HERE, "node_modules", name);
  const facts = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { version: string; license: string };
  const own = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
  // NiiVue's package carries no licence text; it is kept in notices/.
  const file = own ? join(folder, own) : join(HERE, "notices", `${name.split("/").at(-1)}.txt`);
  return `${name} ${facts.version} (${facts.license})\n\n${readFileSync(file, "utf8")}`;
}

export default defineConfig({
  base: "./",
  plugins: [record(), unlit()],
  // Volumes come as NIfTI: the reader of Zarr archives, with its 1.4 MB of WebAssembly, stays out.
  resolve: { alias: { zarrita: join(HERE, "src", "nozarr.ts") } },
  build: {
    outDir: "../src/vesalius/stages/serve/http/static",
    emptyOutDir: true,
    modulePreload: false,
    chunkSizeWarningLimit: 3000,
    rollupOptions: {
      output: { entryFileNames: "page.js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" },
    },
  },
  test: { include: ["tests/**/*.test.ts"] },
} as Parameters<typeof defineConfig>[0]);
