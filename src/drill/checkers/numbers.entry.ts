/**
 * Looks for every written number in a view, a process of its own that knows nothing of the cell's
 * inside: a page of entries and a bit a number in memory. Arguments: configuration file, result file.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { explain } from "../../lib/errors.ts";
import { createNumberTally, type NumberCheckConfig, type NumberCheckResult } from "./numbers.ts";
import { readEntries } from "./view.ts";

const [configPath = "", resultPath = ""] = process.argv.slice(2);
const config = JSON.parse(readFileSync(configPath, "utf8")) as NumberCheckConfig;
const result = await look().catch((error: unknown): NumberCheckResult => {
  return { failure: explain(error) };
});
writeFileSync(resultPath, JSON.stringify(result));
process.exit(0);

async function look(): Promise<NumberCheckResult> {
  const tally = createNumberTally(config.written);
  for await (const lines of readEntries(config.view, config.stream)) {
    for (const line of lines) {
      const { body } = JSON.parse(line) as { readonly body?: { readonly n?: unknown } };
      tally.note(body?.n);
    }
  }
  return tally.findings();
}
