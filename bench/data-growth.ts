/**
 * What a node's stores cost as they grow: a store of documents and one of entries against the same
 * with a hundredth, and a thousandth, of it. Ratios are cost in the small one by cost in the large
 * one: 1 means that it costs the same however much there is.
 */
import { execFile } from "node:child_process";
import { copyFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { agentNodeArgs } from "../src/agent/node-flags.ts";
import { databaseFiles } from "../src/runtime/sqlite/index.ts";
import {
  inFolder,
  interleave,
  rounded,
  type BenchOptions,
  type BenchResult,
} from "./support/bench.ts";

export const about =
  "1 million documents and --entries (10 million) entries on one node: start, memory, queries, sync";

const documents = { small: 10_000, large: 1_000_000 };
const entriesDefault = 10_000_000;
const entriesShare = 1000;
/** Larger first steps would say nothing of how a fill slows down. */
const fillSteps = 10;
const kinds = ["documents", "entries"] as const;
type Kind = (typeof kinds)[number];
type Figures = Record<string, number>;

export async function run(options: BenchOptions): Promise<BenchResult> {
  const entries = options.entries ?? entriesDefault;
  const sizes = {
    documents,
    entries: { small: Math.round(entries / entriesShare), large: entries },
  };
  return inFolder(async (folder) => {
    const found = { documents: {}, entries: {} } as Record<
      Kind,
      Awaited<ReturnType<typeof measure>>
    >;
    for (const kind of kinds) found[kind] = await measure(folder, kind, sizes[kind], options);
    const named = (of: (figures: Awaited<ReturnType<typeof measure>>) => Figures) =>
      Object.fromEntries(
        kinds.flatMap((kind) =>
          Object.entries(of(found[kind])).map(([name, value]) => [`${kind}.${name}`, value]),
        ),
      );
    return {
      ratios: named(({ small, large }) =>
        Object.fromEntries(
          Object.keys(large).map((name) => [name, (small[name] ?? 0) / (large[name] ?? 0)]),
        ),
      ),
      figures: {
        ...named(({ large }) => large),
        ...named(({ fills }) => fills),
      },
      table: kinds.flatMap((kind) =>
        (["small", "large"] as const).map((size) => ({
          what: `${sizes[kind][size]} ${kind}`,
          ...Object.fromEntries(
            Object.entries(found[kind][size]).map(([name, value]) => [name, rounded(value)]),
          ),
        })),
      ),
    };
  });
}

async function measure(
  folder: string,
  kind: Kind,
  sizes: { small: number; large: number },
  options: BenchOptions,
): Promise<{ small: Figures; large: Figures; fills: Figures }> {
  const { progress, signal } = options;
  const paths = { small: join(folder, `${kind}-small.db`), large: join(folder, `${kind}.db`) };
  await child(["fill", kind, paths.small, 0, sizes.small], signal);
  const speeds: number[] = [];
  for (let step = 0; step < fillSteps; step++) {
    const [from, to] = [step, step + 1].map((n) => Math.round((sizes.large / fillSteps) * n));
    const { perSecond = 0 } = await child(["fill", kind, paths.large, from ?? 0, to ?? 0], signal);
    speeds.push(perSecond);
    progress(`${to} ${kind}, ${Math.round(perSecond)} a second`);
  }
  const look = (size: "small" | "large") => async () => {
    // Each look writes: it gets a copy of its own of the small one, and goes on in the large one.
    const path = size === "small" ? `${paths.small}.copy` : paths.large;
    if (size === "small")
      for (const [at, file] of databaseFiles(paths.small).entries())
        if (existsSync(file)) copyFileSync(file, databaseFiles(path)[at] ?? path);
    return child(["look", kind, path, 0, sizes[size]], signal);
  };
  const { small, large } = await interleave(options, {
    small: look("small"),
    large: look("large"),
  });
  return {
    small,
    large,
    fills: { firstTenthPerSecond: speeds[0] ?? 0, lastTenthPerSecond: speeds.at(-1) ?? 0 },
  };
}

const entry = join(import.meta.dirname, "support/growth.entry.ts");

async function child(args: readonly (string | number)[], signal: AbortSignal): Promise<Figures> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", ...agentNodeArgs, entry, ...args.map(String)],
    { signal, maxBuffer: 1 << 20 },
  );
  return JSON.parse(stdout) as Figures;
}
