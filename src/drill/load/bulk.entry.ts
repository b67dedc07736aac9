/**
 * As many entries as the nodes take, in batches over HTTP, until its input ends. What fails is not sent
 * again: it is counted as unknown. Same calling convention as `requests.entry.ts`.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { Agent, request } from "undici";
import { explain } from "../../lib/errors.ts";
import { systemClock } from "../../runtime/clock/index.ts";
import type { NumberRange } from "../checkers/numbers.ts";
import type { BulkLoadConfig, BulkLoadResult } from "./bulk.ts";

const pauseAfterFailureMs = 200;

const [configPath = "", resultPath = ""] = process.argv.slice(2);
const config = JSON.parse(readFileSync(configPath, "utf8")) as BulkLoadConfig;
const { entriesPerRequest, timeoutMs, stream } = config;
const agent = new Agent({ headersTimeout: timeoutMs, bodyTimeout: timeoutMs });
const stop = new AbortController();
process.stdin.on("end", () => stop.abort());
process.stdin.resume();

let made = 0;
let acknowledged = 0;
const unknown: NumberRange[] = [];
const failures: Record<string, number> = {};

/** Sensors' readings: names that repeat, numbers that do not. */
function body([from, to]: NumberRange): string {
  const lines: string[] = [];
  for (let n = from; n < to; n++) {
    const value = ((n * 2_654_435_761) % 1_000_003) / 997;
    lines.push(`{"site":"line-${n % 7}","value":${value.toFixed(4)},"n":${n},"state":"running"}`);
  }
  return lines.join("\n");
}

async function post(node: BulkLoadConfig["nodes"][number]): Promise<void> {
  const numbers: NumberRange = [made, made + entriesPerRequest];
  made += entriesPerRequest;
  try {
    const answer = await request(`${node.gateway}/v1/streams/${stream}/entries`, {
      method: "POST",
      dispatcher: agent,
      headers: { authorization: `Bearer ${node.token}`, "content-type": "application/x-ndjson" },
      body: body(numbers),
    });
    const text = await answer.body.text();
    if (answer.statusCode !== 200) throw new Error(`${answer.statusCode} ${text.slice(0, 200)}`);
    acknowledged += entriesPerRequest;
  } catch (error) {
    unknown.push(numbers);
    const said = explain(error);
    failures[said] = (failures[said] ?? 0) + 1;
    await systemClock.sleep(pauseAfterFailureMs);
  }
}

const workers = config.nodes.flatMap((node) =>
  Array.from({ length: config.inFlight }, async () => {
    while (!stop.signal.aborted) await post(node);
  }),
);
await Promise.all(workers);
await agent.close();
const written = { given: [0, made], unknown } as const;
const result: BulkLoadResult = { acknowledged, written, failures };
writeFileSync(resultPath, JSON.stringify(result));
