// What runs from dist/, and why it is bundled: every isolate of a node keeps the text of each module
// that it loads and a dozen objects around it. docs/decisions/0016-the-weight-of-a-node.md has figures.
import { globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative, sep } from "node:path";
import { build } from "esbuild";
import { thirdParty } from "./third-party.mjs";

/** Of packages that are bundled, what they load only in cases that a node hardly has. */
const loadedWhenUsed = [
  // Schemas of fastify's own, in place of which routes have those of `api/`.
  "@fastify/ajv-compiler",
  "@fastify/fast-json-stringify-compiler",
  // `inject`, for tests.
  "light-my-request",
  // Channelz of gRPC, and loading .proto files.
  "@grpc/proto-loader",
  // Logs by a thread of its own.
  "thread-stream",
];

/** Optional, or loaded at the first use through `createRequire`: they come from node_modules/. */
const packages = ["@opentelemetry/*", "pg", "yaml", "yjs"];

/**
 * What undici's pools load only when a parser starts or a body asks for it, by name from node_modules/:
 * four builds of its parser (300 KB of base64), of which one is used, and the forms of fetch.
 */
const undiciWhenUsed = /^\.\.\/(?:(?:llhttp|milo)\/[\w-]*(?:wasm|simd)|web\/[\w/]+)(?:\.js)?$/;

/** Stands for the way from a built file to dist/, blanks included: source maps count columns. */
const placeholder = '"@dist/.......';

/** Bundles each entry of src/ to the same place below `out`, and what several need into chunks/. */
export async function bundle({ root, out }) {
  const source = join(root, "src");
  const entries = [...globSync("**/*.entry.ts", { cwd: source }), join("client", "index.ts")];
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: entries.map((entry) => join(source, entry)),
    outbase: source,
    outdir: out,
    chunkNames: "chunks/[name]-[hash]",
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node24",
    // The form that can be shaken, where a package has two.
    mainFields: ["module", "main"],
    external: [...packages, ...loadedWhenUsed],
    // The mirror of node:stream for other versions of Node.
    alias: { "readable-stream": "node:stream" },
    minifyWhitespace: true,
    minifySyntax: true,
    // Stacks tell names and lines, and with NODE_OPTIONS=--enable-source-maps those of src/.
    lineLimit: 160,
    sourcemap: "linked",
    sourcesContent: false,
    legalComments: "none",
    write: false,
    metafile: true,
    logLevel: "warning",
    plugins: [ownUrls(source), undici()],
  });
  for (const { path, text } of outputFiles) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, path.endsWith(".js") ? finished(text, relative(dirname(path), out)) : text);
  }
  writeFileSync(join(out, "THIRD-PARTY.txt"), thirdParty(root, Object.keys(metafile.inputs)));
}

/** A module's own URL stays that of its place below `src/`, wherever it is bundled to. */
function ownUrls(source) {
  return {
    name: "own-urls",
    setup({ onLoad }) {
      onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const text = readFileSync(path, "utf8");
        const place = relative(source, path).replaceAll(sep, "/").replace(/\.ts$/, ".js");
        const url = `new URL(${placeholder}${place}",import.meta.url).href`;
        return { loader: "ts", contents: text.replaceAll("import.meta.url", url) };
      });
    },
  };
}

/** Its pools are bundled; the rest of it is for commands, which have the package as it is. */
function undici() {
  return {
    name: "undici",
    setup({ onResolve }) {
      onResolve({ filter: /^undici$/ }, ({ path }) => ({ path, external: true }));
      onResolve({ filter: undiciWhenUsed }, ({ path, importer }) => {
        const file = createRequire(importer).resolve(path).replaceAll(sep, "/");
        const inPackage = /node_modules\/(undici\/lib\/.*)$/.exec(file)?.[1];
        return inPackage === undefined ? undefined : { path: inPackage, external: true };
      });
    },
  };
}

/** `up` leads from the file's folder to dist/. */
function finished(text, up) {
  const way = `"${up === "" ? "." : up}/`.replaceAll(sep, "/");
  const placed = text.replaceAll(placeholder, way.padStart(placeholder.length));
  // Only the chunk in which esbuild puts its helper asks for it: packages in CommonJS load Node's modules.
  return placed.includes("typeof require")
    ? `import{createRequire}from"node:module";const require=createRequire(import.meta.url);${placed}`
    : placed;
}
