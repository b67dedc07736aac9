/**
 * `npm run bench -- NAME [--json] [--rounds N] [--for 60s] [--trials N] [--entries N]`: measures Skerry against a
 * peer or a ceiling. Exit codes: 0 measured, 1 failed, 2 could not run (what is missing is named).
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parseDurationMs } from "../src/lib/duration.ts";
import { CannotRun, rounded, type Bench, type BenchOptions } from "./support/bench.ts";

const names = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith(".ts") && file !== "run.ts")
  .map((file) => file.slice(0, -".ts".length))
  .sort();

const load = async (name: string) =>
  (await import(join(import.meta.dirname, `${name}.ts`))) as Bench;

async function usage(complaint: string): Promise<never> {
  console.error(
    `${complaint}\n\nusage: npm run bench -- NAME [--json] [--rounds N] [--for 60s] [--trials N] [--entries N]\n`,
  );
  for (const name of names) console.error(`  ${name.padEnd(16)} ${(await load(name)).about}`);
  process.exit(2);
}

async function measure(name: string, options: BenchOptions) {
  try {
    return await (await load(name)).run(options);
  } catch (error) {
    if (!(error instanceof CannotRun)) throw error;
    console.error(`bench: ${error.message}`);
    process.exit(2);
  }
}

function readArguments() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        json: { type: "boolean", default: false },
        rounds: { type: "string" },
        for: { type: "string" },
        trials: { type: "string" },
        entries: { type: "string" },
      },
    });
    const forMs = values.for === undefined ? undefined : parseDurationMs(values.for, "--for");
    return { ...values, forMs, positionals };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const given = readArguments();
if (typeof given === "string") await usage(given);
else {
  const [name, ...more] = given.positionals;
  const rounds = Number(given.rounds ?? 3);
  const trials = given.trials === undefined ? undefined : Number(given.trials);
  const entries = given.entries === undefined ? undefined : Number(given.entries);
  if (name === undefined) await usage("bench: name what to measure");
  else if (!names.includes(name)) await usage(`bench: there is no "${name}"`);
  else if (more.length > 0) await usage(`bench: one name at a time, got "${more.join(" ")}" too`);
  else if (!(Number.isInteger(rounds) && rounds >= 3))
    await usage(`bench: --rounds ${given.rounds}: must be a whole number of at least 3`);
  else if (trials !== undefined && !(Number.isInteger(trials) && trials >= 1))
    await usage(`bench: --trials ${given.trials}: must be a whole number of at least 1`);
  else if (entries !== undefined && !(Number.isInteger(entries) && entries >= 100_000))
    await usage(`bench: --entries ${given.entries}: must be a whole number of at least 100000`);
  else {
    const stop = new AbortController();
    for (const signal of ["SIGINT", "SIGTERM"] as const)
      process.once(signal, () => stop.abort(new CannotRun(`ended by ${signal}`)));
    const { ratios, figures, table } = await measure(name, {
      rounds,
      ...(given.forMs === undefined ? {} : { forMs: given.forMs }),
      ...(trials === undefined ? {} : { trials }),
      ...(entries === undefined ? {} : { entries }),
      signal: stop.signal,
      progress: (text) => console.error(`${name}: ${text}`),
    });
    console.table(table);
    for (const [key, value] of Object.entries(ratios))
      console.log(`${key.padEnd(32)} ${rounded(value)}`);
    if (given.json) {
      const short = (values: Readonly<Record<string, number>>) =>
        Object.fromEntries(Object.entries(values).map(([key, value]) => [key, rounded(value)]));
      console.log(JSON.stringify({ bench: name, ratios: short(ratios), figures: short(figures) }));
    }
  }
}
