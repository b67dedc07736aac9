/**
 * Holds the house together: who may import whom (docs/architecture.md), no cycles, no ambient time,
 * randomness or environment, sockets and SQLite only where they belong, files of a readable size.
 */
import { strict as assert } from "node:assert";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { test } from "node:test";

const root = resolve(import.meta.dirname, "..");
const src = join(root, "src");

const pillar = ["lib", "runtime", "api", "transport"];
const everything = [
  "lib",
  "runtime",
  "api",
  "client",
  "identity",
  "authorization",
  "keeper",
  "transport",
  "membership",
  "ledger",
  "resources",
  "controllers",
  "fleet",
  "apiserver",
  "workloads",
  "artifacts",
  "ingest",
  "data",
  "privacy",
  "inference",
  "healer",
  "traffic",
  "backup",
  "gateway",
];
const mayImport: Readonly<Record<string, readonly string[]>> = {
  lib: [],
  runtime: ["lib"],
  api: ["lib"],
  client: ["lib", "api"],
  identity: ["lib", "runtime", "api"],
  authorization: ["lib", "runtime", "api"],
  keeper: ["lib", "runtime", "api"],
  transport: ["lib", "runtime", "identity", "api"],
  membership: ["lib", "api", "transport"],
  ledger: ["lib", "runtime", "api"],
  resources: ["lib", "runtime", "api", "ledger", "transport"],
  controllers: ["lib", "api", "resources"],
  fleet: ["lib", "api", "resources", "transport"],
  apiserver: ["lib", "runtime", "api", "resources", "identity", "authorization"],
  workloads: pillar,
  artifacts: pillar,
  ingest: pillar,
  data: pillar,
  privacy: pillar,
  inference: pillar,
  healer: pillar,
  traffic: pillar,
  backup: pillar,
  gateway: pillar,
  agent: everything,
  hub: everything,
  drill: ["lib", "runtime", "api", "client"],
  cli: ["lib", "runtime", "api", "client", "agent", "hub", "drill"],
  console: ["lib", "api", "client"],
};

/** Rooms under `drill/` that look inside. */
const simulatedMayAlso = [
  "data",
  "identity",
  "ingest",
  "ledger",
  "membership",
  "privacy",
  "resources",
  "transport",
];
/** A second door of `data/`, for those rooms alone. */
const inside = "data/inside/index.ts";

/** Folders that may open sockets. */
const mayOpenSockets = [
  "transport",
  "apiserver",
  "gateway",
  "ingest",
  "inference",
  "traffic",
  "runtime",
  "drill",
  "keeper",
];

/** Files over 500 lines, each with its reason. */
const longFiles: Readonly<Record<string, string>> = {};

type Import = {
  readonly from: string;
  readonly specifier: string;
  readonly target: string | undefined;
};

const files = readdirSync(src, { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts"))
  .map((path) => join(src, path));
const contentByFile = new Map(files.map((path) => [path, readFileSync(path, "utf8")]));
const name = (path: string) => relative(root, path);
const folderOf = (path: string) => relative(src, path).split("/")[0] ?? "";

function importsOf(path: string): Import[] {
  const content = contentByFile.get(path) ?? "";
  const specifiers = [
    ...content.matchAll(/^\s*(?:import|export)\s[^;"']*?from\s+["']([^"']+)["']/gm),
    ...content.matchAll(/^\s*import\s+["']([^"']+)["']/gm),
    ...content.matchAll(/\bimport\(\s*["']([^"']+)["']/g),
  ].map((match) => match[1] ?? "");
  return specifiers.map((specifier) => ({
    from: path,
    specifier,
    target: specifier.startsWith(".") ? resolve(dirname(path), specifier) : undefined,
  }));
}

const imports = files.flatMap(importsOf);

test("every relative import names an existing file with its ending", () => {
  const missing = imports.filter(({ target }) => target !== undefined && !existsSync(target));
  assert.deepEqual(
    missing.map(({ from, specifier }) => `${name(from)}: ${specifier}`),
    [],
  );
});

test("every folder of src stands in the import table", () => {
  const unknown = [...new Set(files.map(folderOf))].filter((folder) => !(folder in mayImport));
  assert.deepEqual(unknown, []);
});

test("imports between folders follow the table", () => {
  const wrong = imports.filter(({ from, target }) => {
    if (!target?.startsWith(src)) return target !== undefined;
    const [here, there] = [folderOf(from), folderOf(target)];
    if (here === there) return false;
    if (mayImport[here]?.includes(there)) return false;
    return !(name(from).startsWith("src/drill/simulated/") && simulatedMayAlso.includes(there));
  });
  assert.deepEqual(
    wrong.map(({ from, specifier }) => `${name(from)}: ${specifier}`),
    [],
  );
});

test("a folder is entered by its door: index.ts, in runtime and privacy that of the subfolder, in lib any file", () => {
  const wrong = imports.filter(({ from, target }) => {
    if (!target || folderOf(from) === folderOf(target)) return false;
    const path = relative(src, target);
    if (path.startsWith("lib/")) return false;
    if (path === inside) return !name(from).startsWith("src/drill/simulated/");
    return !/^(runtime\/[a-z-]+\/index\.ts|[a-z]+\/index\.ts|[a-z]+\/[a-z-]+\/index\.ts)$/.test(
      path,
    );
  });
  assert.deepEqual(
    wrong.map(({ from, specifier }) => `${name(from)}: ${specifier}`),
    [],
  );
});

test("no cycles, type-only ones included", () => {
  const edges = new Map<string, string[]>();
  for (const { from, target } of imports)
    if (target) edges.set(from, [...(edges.get(from) ?? []), target]);
  const state = new Map<string, "open" | "done">();
  const cycles: string[] = [];
  const visit = (path: string, trail: string[]) => {
    if (state.get(path) === "done") return;
    if (state.get(path) === "open") {
      cycles.push([...trail.slice(trail.indexOf(path)), path].map(name).join(" -> "));
      return;
    }
    state.set(path, "open");
    for (const next of edges.get(path) ?? []) visit(next, [...trail, path]);
    state.set(path, "done");
  };
  for (const path of files) visit(path, []);
  assert.deepEqual(cycles, []);
});

/** Who is started without which packages; each costs an isolate 1 to 5 MB. */
const withoutByStart = {
  ...Object.fromEntries(
    [
      "agent/storage.entry.ts",
      "hub/storage.entry.ts",
      "traffic/proxy.entry.ts",
      "keeper/keeper.entry.ts",
    ].map((entry) => [
      entry,
      /^(zod|fastify|undici$|prom-client|mqtt-packet|@grpc\/|@fastify\/|@opentelemetry\/)/,
    ]),
  ),
  // Of what an agent needs at some time, not what most agents need only once, or never.
  "agent/open-ground.ts": /^(undici$|pg|@grpc\/|@peculiar\/|@opentelemetry\/)/,
  "agent/agent.ts": /^(undici$|pg|@grpc\/|@peculiar\/|@opentelemetry\/)/,
};

test("weight: threads, keeper and agent load no package at their start that they may never need", () => {
  const loads = (path: string) =>
    [
      ...(contentByFile.get(path) ?? "").matchAll(/^(?:import|export)\s(?!type\b)[^;]*?;/gm),
    ].flatMap(([statement]) => /(?:from|import)\s+["']([^"']+)["'];$/.exec(statement)?.[1] ?? []);
  const found: string[] = [];
  for (const [start, without] of Object.entries(withoutByStart)) {
    const seen = new Set<string>();
    const visit = (path: string, trail: readonly string[]) => {
      if (seen.has(path)) return;
      seen.add(path);
      for (const specifier of loads(path)) {
        const here = [...trail, name(path)];
        if (without.test(specifier)) found.push([...here, specifier].join(" -> "));
        if (specifier.startsWith(".")) visit(resolve(dirname(path), specifier), here);
      }
    };
    visit(join(src, start), []);
  }
  assert.deepEqual(found, []);
});

test("entries are never imported", () => {
  const wrong = imports.filter(({ target }) => target?.includes(".entry."));
  assert.deepEqual(
    wrong.map(({ from, specifier }) => `${name(from)}: ${specifier}`),
    [],
  );
});

function offences(pattern: RegExp, allowed: (path: string) => boolean): string[] {
  return files
    .filter((path) => !allowed(relative(src, path)))
    .flatMap((path) =>
      (contentByFile.get(path) ?? "").split("\n").flatMap((line, index) => {
        const code = line.replace(/\/\/.*$/, "").replace(/^\s*\*.*$/, "");
        return pattern.test(code) ? [`${name(path)}:${index + 1}: ${line.trim()}`] : [];
      }),
    );
}

/** The client runs in programs that have no `runtime/`, browsers among them. */
const mayBeAmbient = (path: string) => path.startsWith("runtime/") || path === "client/ambient.ts";

test("no ambient time, randomness or environment outside runtime", () => {
  const ambient =
    /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(|(?<!\.)\bsetTimeout\(|(?<!\.)\bsetInterval\(|\bAbortSignal\.timeout\(|\bperformance\.now\(|\brandomUUID\(|timers\/promises|\bprocess\.env\b|\brandomBytes\(|\bhrtime\b/;
  assert.deepEqual(offences(ambient, mayBeAmbient), []);
});

test("node:sqlite only in runtime/sqlite", () => {
  assert.deepEqual(
    offences(/["']node:sqlite["']/, (path) => path.startsWith("runtime/sqlite/")),
    [],
  );
});

test("sockets only where the table allows them", () => {
  assert.deepEqual(
    offences(
      /\b(?:createServer|createSecureServer|createConnection|createSocket)\(|\b(?:net|tls|http|https|http2)\.(?:connect|request|get)\(/,
      (path) => mayOpenSockets.includes(path.split("/")[0] ?? ""),
    ),
    [],
  );
});

test("no star exports, enums, skipped or focused tests", () => {
  assert.deepEqual(
    offences(/^\s*export \* |^\s*(?:export )?(?:const )?enum /, () => false),
    [],
  );
});

test("files stay readable", () => {
  const long = files.filter(
    (path) =>
      (contentByFile.get(path) ?? "").split("\n").length > 500 && !(name(path) in longFiles),
  );
  assert.deepEqual(long.map(name), []);
  assert.deepEqual(
    Object.keys(longFiles).filter((path) => !existsSync(join(root, path))),
    [],
  );
});
