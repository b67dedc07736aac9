/** `npm run bench -- NAME [--json] [--rounds N]`: measures Skerry against a peer or a ceiling. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { rounded, type Bench } from "./support/bench.ts";

const names = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith(".ts") && file !== "run.ts")
  .map((file) => file.slice(0, -".ts".length))
  .sort();

const load = async (name: string) =>
  (await import(join(import.meta.dirname, `${name}.ts`))) as Bench;

async function usage(complaint: string): Promise<never> {
  console.error(`${complaint}\n\nusage: npm run bench -- NAME [--json] [--rounds N]\n`);
  for (const name of names) console.error(`  ${name.padEnd(16)} ${(await load(name)).about}`);
  process.exit(2);
}

function readArguments() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { json: { type: "boolean", default: false }, rounds: { type: "string" } },
    });
    return { ...values, positionals };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const given = readArguments();
if (typeof given === "string") await usage(given);
else {
  const [name, ...more] = given.positionals;
  const rounds = Number(given.rounds ?? 3);
  if (name === undefined) await usage("bench: name what to measure");
  else if (!names.includes(name)) await usage(`bench: there is no "${name}"`);
  else if (more.length > 0) await usage(`bench: one name at a time, got "${more.join(" ")}" too`);
  else if (!(Number.isInteger(rounds) && rounds >= 3))
    await usage(`bench: --rounds ${given.rounds}: must be a whole number of at least 3`);
  else {
    const { ratios, figures, table } = await (await load(name)).run({ rounds });
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
