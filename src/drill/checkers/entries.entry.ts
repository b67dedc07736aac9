/**
 * Counts acknowledged keys in every view, a process of its own that knows nothing of the cell's
 * inside. Arguments: configuration file, result file.
 */
import { createReadStream, readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { explain } from "../../lib/errors.ts";
import { systemClock } from "../../runtime/clock/index.ts";
import { keyLine } from "../load/entries.ts";
import type { EntryCheckConfig, EntryCheckResult } from "./entries.ts";
import { readEntries, type View } from "./view.ts";

type Verdict = EntryCheckResult["views"][number];
type Line = { readonly producer?: string; readonly epoch?: number; readonly sequence?: number };

const examplesMax = 5;
const retryMs = 250;

const [configPath = "", resultPath = ""] = process.argv.slice(2);
const config = JSON.parse(readFileSync(configPath, "utf8")) as EntryCheckConfig;
const acknowledged = new Set<string>();
for await (const line of createInterface({ input: createReadStream(config.acknowledgedPath) })) {
  if (line !== "") acknowledged.add(line);
}
const startedMs = systemClock.monotonicMs();
const alreadyMs =
  config.sinceWallMs === undefined ? 0 : Math.max(0, systemClock.wallMs() - config.sinceWallMs);
const views = await Promise.all(config.views.map(check));
writeFileSync(
  resultPath,
  JSON.stringify({ acknowledged: acknowledged.size, views } satisfies EntryCheckResult),
);
process.exit(0);

async function check(view: View): Promise<Verdict> {
  const lookNow = () => look(view).catch((error: unknown): Verdict => unreadable(view, error));
  for (;;) {
    const verdict = await lookNow();
    const passedMs = alreadyMs + systemClock.monotonicMs() - startedMs;
    if (isComplete(verdict)) {
      if (config.settleMs !== undefined) await systemClock.sleep(config.settleMs);
      const last = config.settleMs === undefined ? verdict : await lookNow();
      return isComplete(last) ? { ...last, completeAfterMs: Math.round(passedMs) } : last;
    }
    if (passedMs > config.timeoutMs) return verdict;
    await systemClock.sleep(retryMs);
  }
}

/** Nothing missing in what could not be read is no finding. */
function isComplete({ lost, failure }: Verdict): boolean {
  return lost === 0 && failure === undefined;
}

function unreadable(view: View, error: unknown): Verdict {
  return {
    name: view.name,
    found: 0,
    lost: acknowledged.size,
    duplicated: 0,
    examples: [],
    failure: explain(error),
  };
}

async function look(view: View): Promise<Verdict> {
  const seen = new Map<string, number>();
  for await (const lines of readEntries(view, config.stream)) {
    for (const text of lines) {
      const line = JSON.parse(text) as Line;
      if (line.producer === undefined || line.epoch === undefined || line.sequence === undefined)
        continue;
      const key = keyLine(line.producer, line.epoch, line.sequence);
      seen.set(key, (seen.get(key) ?? 0) + 1);
    }
  }
  const lost = [...acknowledged].filter((key) => !seen.has(key));
  const duplicated = [...seen].filter(([, count]) => count > 1);
  return {
    name: view.name,
    found: seen.size,
    lost: lost.length,
    duplicated: duplicated.reduce((sum, [, count]) => sum + count - 1, 0),
    examples: [
      ...lost.slice(0, examplesMax).map((key) => `lost ${key.replaceAll("\t", " ")}`),
      ...duplicated
        .slice(0, examplesMax)
        .map(([key, count]) => `${count} times ${key.replaceAll("\t", " ")}`),
    ],
  };
}
