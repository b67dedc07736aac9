/**
 * `long-offline`: the WAN is away while the nodes take as many entries as they can; then it is back. The
 * backlog has to arrive whole and once, fast, and who writes meanwhile must not wait for it.
 */
import { applyStream, exampleStream } from "../../client/index.ts";
import { entryUrl } from "../../runtime/child/index.ts";
import { createTlsFetch } from "../../runtime/tls-fetch/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { NumberCheckConfig, NumberCheckResult, NumbersWritten } from "../checkers/numbers.ts";
import type { Drill, DrillReport } from "../drill.ts";
import type { BulkLoadConfig, BulkLoadResult } from "../load/bulk.ts";
import { waitUntil } from "../site/whole.ts";
import { startWorker } from "../site/worker.ts";
import { createProbe, type Probe } from "./long-offline-probe.ts";
import { backlogPromises, type BacklogSeen } from "./long-offline-verdict.ts";
import { viewOf, withStage, type Stage } from "./stage.ts";
import { dataPromises, notMeasured, remarksOn, reportOf, requestPromises } from "./verdict.ts";

const stream = "backlog";
const bulk = { inFlight: 2, entriesPerRequest: 500, timeoutMs: 30_000 };
/** The backlog may take as long to send as it took to collect, and on a short run somewhat longer. */
const catchUpFactor = 2;
const hubTimeoutMs = 10_000;
const knownTimeoutMs = 30_000;
const remarksMax = 5;

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
  const probe = createProbe(stage, { nodes: site.nodes, stream });
  await declareStream(stage, probe);
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
  const probing = probe.start();
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
  const probes = await probing.stop();
  for (const failure of probes.failures.slice(0, remarksMax))
    progress(`a probe failed: ${failure}`);
  faults.push({
    atMs: cutMs,
    fault: "cut the WAN",
    ...(caughtUp === notMeasured ? {} : { recoveredMs: Math.round(healedMs - cutMs + caughtUp) }),
  });
  await stage.until(1);
  const seen = await stage.finish();
  progress("looking for every number of the backlog at the hub");
  const numbers = await checkNumbers(stage, [written.written, probe.written()]);
  for (const remark of "found" in numbers ? numbers.examples : [numbers.failure])
    progress(`hub: ${remark}`);
  const { acknowledged } = written;
  const backlog: BacklogSeen = { acknowledged, numbers, caughtUpMs: Math.round(caughtUp), probes };
  for (const remark of remarksOn(seen, [])) progress(remark);
  return reportOf("long-offline", seen, {
    outages: [],
    promises: [
      ...dataPromises(seen),
      ...requestPromises(seen, []),
      ...backlogPromises(backlog, stage),
    ],
    faults,
  });
}

async function declareStream(stage: Stage, probe: Probe): Promise<void> {
  const { site, clock, signal } = stage;
  const example = exampleStream(stream, ["site", "value", "n", "state"], "the drill's backlog");
  const retention = { ...example.spec?.retention, maxBytes: "16Gi" };
  await applyStream(site.cluster, { ...example, spec: { ...example.spec, retention } });
  for (const node of site.nodes)
    await waitUntil(
      `the stream on ${node.node}`,
      async () => {
        const failure = await probe.append(node);
        return failure === undefined ? { found: undefined } : { missing: failure };
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

/** How many of the cell's entries the hub says that it has. */
async function entriesAtHub({ site }: Stage): Promise<number> {
  const tls = createTlsFetch({ ...site.hubAccess, timeoutMs: hubTimeoutMs });
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

/** Whole and once is said of numbers: in a count one that is lost and one that is there twice are none. */
async function checkNumbers(
  stage: Stage,
  written: readonly NumbersWritten[],
): Promise<NumberCheckResult> {
  const checker = startWorker<NumberCheckConfig, NumberCheckResult>(
    entryUrl(import.meta.url, "../checkers/numbers.entry"),
    {
      dir: stage.dir,
      name: "numbers",
      untilFinished: false,
      config: { view: viewOf(stage.site, "hub"), stream, written },
    },
  );
  const abandon = () => checker.abandon();
  stage.signal.addEventListener("abort", abandon);
  try {
    return await checker.finish();
  } finally {
    stage.signal.removeEventListener("abort", abandon);
  }
}
