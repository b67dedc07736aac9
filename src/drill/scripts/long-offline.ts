/**
 * `long-offline`: the WAN is away while the nodes take as many entries as they can; then it is back. The
 * backlog has to arrive whole and once, fast, and who writes meanwhile must not wait for it.
 */
import { request } from "undici";
import { applyStream, exampleStream } from "../../client/index.ts";
import { ascending, percentile } from "../../lib/percentile.ts";
import { entryUrl } from "../../runtime/child/index.ts";
import { createTlsFetch } from "../../runtime/tls-fetch/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Drill, DrillReport } from "../drill.ts";
import type { BulkLoadConfig, BulkLoadResult } from "../load/bulk.ts";
import { waitUntil } from "../site/whole.ts";
import { startWorker } from "../site/worker.ts";
import { backlogPromises, type BacklogSeen } from "./long-offline-verdict.ts";
import { withStage, type Stage } from "./stage.ts";
import { dataPromises, notMeasured, remarksOn, reportOf, requestPromises } from "./verdict.ts";

const stream = "backlog";
const bulk = { inFlight: 2, entriesPerRequest: 500, timeoutMs: 30_000 };
/** The backlog may take as long to send as it took to collect, and on a short run somewhat longer. */
const catchUpFactor = 2;
const probeEveryMs = 50;
const probeTimeoutMs = 10_000;
const knownTimeoutMs = 30_000;

export const longOffline: Drill = {
  name: "long-offline",
  summary:
    "the WAN away while a backlog grows as fast as the nodes take it; then all of it is sent",
  faults: ["cut the WAN for half of the run, under full load; heal it"],
  needs: "machines",
  defaultForMs: 60_000,
  run: (options) => withStage(options, play),
};

async function play(stage: Stage): Promise<DrillReport> {
  const { site, clock, progress, signal, faults } = stage;
  await declareStream(stage);
  await stage.until(0.08);
  progress("cutting the WAN");
  const cutMs = stage.since();
  site.wan.cut();
  const load = startWorker<BulkLoadConfig, BulkLoadResult>(
    entryUrl(import.meta.url, "../load/bulk.entry"),
    {
      dir: stage.dir,
      name: "bulk",
      untilFinished: true,
      config: { ...bulk, stream, nodes: site.nodes },
    },
  );
  let written: BulkLoadResult;
  try {
    await stage.until(0.55);
    written = await load.finish();
  } finally {
    load.abandon();
  }
  for (const [failure, count] of Object.entries(written.failures))
    progress(`${count} requests failed: ${failure}`);
  const before = await entriesAtHub(stage);
  progress(`healing the WAN: ${written.acknowledged} entries wait`);
  const healedMs = stage.since();
  const startedMs = clock.monotonicMs();
  site.wan.heal();
  const probe = probing(stage);
  const caughtUp = await waitUntil<number>(
    "the hub to have the backlog",
    async () => {
      const entries = await entriesAtHub(stage);
      return entries - before >= written.acknowledged
        ? { found: clock.monotonicMs() - startedMs }
        : { missing: `${entries - before} of ${written.acknowledged}` };
    },
    { clock, signal, timeoutMs: stage.forMs * catchUpFactor * stage.slowness },
  ).catch((error: unknown) => {
    if (signal.aborted) throw error;
    return notMeasured;
  });
  const tookMs = await probe.stop();
  faults.push({
    atMs: cutMs,
    fault: "cut the WAN",
    ...(caughtUp === notMeasured ? {} : { recoveredMs: Math.round(healedMs - cutMs + caughtUp) }),
  });
  await stage.until(1);
  const seen = await stage.finish();
  const backlog: BacklogSeen = {
    acknowledged: written.acknowledged,
    unknown: written.unknown,
    arrived: (await entriesAtHub(stage)) - before,
    probed: tookMs.filter((ms) => ms !== notMeasured).length,
    caughtUpMs: Math.round(caughtUp),
    probeP99Ms: Math.round(percentile(ascending(tookMs), 0.99) ?? notMeasured),
  };
  for (const remark of remarksOn(seen, [])) progress(remark);
  return reportOf("long-offline", seen, {
    outages: [],
    promises: [
      ...dataPromises(seen),
      ...requestPromises(seen, []),
      ...backlogPromises(backlog, stage.slowness),
    ],
    faults,
  });
}

async function declareStream(stage: Stage): Promise<void> {
  const { site, clock, signal } = stage;
  const example = exampleStream(stream, ["site", "value", "n", "state"], "the drill's backlog");
  const retention = { ...example.spec?.retention, maxBytes: "16Gi" };
  await applyStream(site.cluster, { ...example, spec: { ...example.spec, retention } });
  for (const node of site.nodes)
    await waitUntil(
      `the stream on ${node.node}`,
      async () => {
        const answer = await append(stage, node);
        return answer === 200 ? { found: undefined } : { missing: `status ${answer}` };
      },
      { clock, signal, timeoutMs: knownTimeoutMs * stage.slowness },
    );
  await waitUntil(
    "its first entries at the hub",
    async () =>
      (await entriesAtHub(stage)) >= site.nodes.length
        ? { found: undefined }
        : { missing: "not there" },
    { clock, signal, timeoutMs: knownTimeoutMs * stage.slowness },
  );
}

/** One entry; the status of the answer. */
async function append(
  { signal }: Stage,
  { gateway, token }: { readonly gateway: string; readonly token: string },
): Promise<number> {
  const { statusCode, body } = await request(`${gateway}/v1/streams/${stream}/entries`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/x-ndjson" },
    body: '{"site":"probe","value":1}\n',
    headersTimeout: probeTimeoutMs,
    signal,
  });
  await body.dump();
  return statusCode;
}

/** How many of the cell's entries the hub says that it has. */
async function entriesAtHub({ site }: Stage): Promise<number> {
  const tls = createTlsFetch({ ...site.hubAccess, timeoutMs: probeTimeoutMs });
  try {
    const answer = await tls.fetch(`${site.hubAccess.server}/v1/streams?cell=drill`);
    if (answer.status !== 200)
      throw new SkerryError({
        code: "drill-step-failed",
        message: `the hub's streams could not be read: ${answer.status}`,
      });
    const { streams } = (await answer.json()) as {
      streams: readonly { readonly name: string; readonly entries: number }[];
    };
    return streams.find(({ name }) => name === stream)?.entries ?? 0;
  } finally {
    await tls.close();
  }
}

/**
 * One entry each time one is due, to one node after another, whatever became of those before; what each
 * took from when it was due.
 */
function probing(stage: Stage): { stop(): Promise<readonly number[]> } {
  const { clock, site, signal } = stage;
  const ended = new AbortController();
  const startedMs = clock.monotonicMs();
  const probe = async (n: number, dueMs: number): Promise<number> => {
    const node = site.nodes[n % site.nodes.length];
    const status = node && (await append(stage, node));
    return status === 200 ? clock.monotonicMs() - dueMs : notMeasured;
  };
  const run = async (): Promise<readonly number[]> => {
    const probes: Promise<number>[] = [];
    for (let n = 0; !ended.signal.aborted; n++) {
      const dueMs = startedMs + n * probeEveryMs;
      await clock.sleep(Math.max(0, dueMs - clock.monotonicMs()), { signal });
      const sent = probe(n, dueMs);
      // It is looked at when all are; until then nobody asks.
      sent.catch(() => undefined);
      probes.push(sent);
    }
    return await Promise.all(probes);
  };
  const running = run();
  running.catch(() => undefined);
  return {
    async stop() {
      ended.abort();
      return await running;
    },
  };
}
