/** Live queries as an agent connects them, without its mirror. */
import {
  createLiveQueries,
  type DocumentStore,
  type LiveOptions,
  type LiveQueries,
  type Queries,
} from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { createMetrics, type Metrics } from "../../src/runtime/metrics/index.ts";

export function startLive(
  on: { queries: Pick<Queries, "live">; store: Pick<DocumentStore, "on"> },
  options: LiveOptions = {},
): { live: LiveQueries; metrics: Metrics } {
  const metrics = createMetrics();
  const live = createLiveQueries(
    { thread: on.queries.live, clock: systemClock, random: systemRandom, log: silentLog, metrics },
    options,
  );
  on.store.on("grown", ({ collections }) => live.grown(collections));
  return { live, metrics };
}

/** One number of what metrics say; undefined: not there. */
export async function counted(metrics: Metrics, name: string): Promise<number | undefined> {
  const line = (await metrics.render()).split("\n").find((text) => text.startsWith(`${name} `));
  return line === undefined ? undefined : Number(line.slice(name.length));
}
