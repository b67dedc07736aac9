/**
 * `quick`: about a minute. The WAN is cut and healed, an agent is killed, the server's agent restarts,
 * all under load on HTTP and MQTT. What must hold: no acknowledged entry lost or doubled anywhere, no
 * failed idempotent request through a node whose agent lives, pods untouched, the hub caught up.
 */
import { join } from "node:path";
import { mkdirSync } from "node:fs";
import type { CellStatus } from "../../api/index.ts";
import { entryUrl } from "../../runtime/child/index.ts";
import { ascending, percentile } from "../../lib/percentile.ts";
import { SkerryError } from "../../lib/errors.ts";
import { seededRandom } from "../../lib/random.ts";
import {
  atLeast,
  atMost,
  type Drill,
  type DrillOptions,
  type DrillReport,
  type FaultRecord,
} from "../drill.ts";
import type { EntryCheckConfig, EntryCheckResult } from "../checkers/entries.ts";
import type { EntryLoadConfig, EntryLoadResult } from "../load/entries.ts";
import type { RequestLoadConfig, RequestLoadResult, RequestSample } from "../load/requests.ts";
import { deployEcho, waitForEcho } from "../site/echo.ts";
import { skerryJson } from "../site/command.ts";
import { startSite, type Site } from "../site/site.ts";
import { startWorker } from "../site/worker.ts";

const deadlineMs = 2000;
const ingressBackMs = 2000;
const hubCatchUpMs = 30_000;
/** The minimum of 10,000 requests in a minute, with room for a slow start. */
const requestsPerSecond = 200;
const entriesPerSecond = 400;
const stream = "drill";

export const quick: Drill = {
  name: "quick",
  summary: "WAN cut and healed, an agent killed, the server's agent restarted, under load",
  faults: [
    "cut WAN",
    "heal WAN",
    "kill the agent of n2 or n3",
    "restart the agent of n1 (the server)",
  ],
  defaultForMs: 60_000,
  run: runQuick,
};

type Outage = { readonly node: string; readonly fromMs: number; toMs: number };

async function runQuick(options: DrillOptions): Promise<DrillReport> {
  const { clock, progress, signal } = options;
  const random = seededRandom(options.seed);
  mkdirSync(options.dir, { recursive: true });
  const site = await startSite({
    dir: options.dir,
    cell: "drill",
    subnet: 20 + (options.seed % 200),
    clock,
    signal,
    progress,
  });
  try {
    progress("deploying the application and the stream");
    await deployEcho(site.cluster, { stream, nodePath: process.execPath });
    await waitForEcho(site, { clock, timeoutMs: 60_000, signal });

    const before = await podsOf(site);
    const startedWallMs = clock.wallMs();
    const requests = startWorker<RequestLoadConfig, RequestLoadResult>(
      entryUrl(import.meta.url, "../load/requests.entry"),
      {
        dir: options.dir,
        name: "requests",
        untilFinished: true,
        config: {
          targets: site.nodes.map((node) => ({
            name: node.node,
            url: `http://${node.ingress}/echo`,
          })),
          perSecond: requestsPerSecond,
          deadlineMs,
          inFlightMax: 1000,
        },
      },
    );
    const acknowledgedPath = join(options.dir, "acknowledged.tsv");
    const entries = startWorker<EntryLoadConfig, EntryLoadResult>(
      entryUrl(import.meta.url, "../load/entries.entry"),
      {
        dir: options.dir,
        name: "entries",
        untilFinished: true,
        config: {
          seed: options.seed,
          stream,
          nodes: site.nodes.map((node) => ({
            name: node.node,
            gateway: node.gateway,
            mqtt: hostPort(node.mqttPlain),
            token: node.token,
          })),
          perSecond: entriesPerSecond,
          tickMs: 50,
          resendShare: 0.1,
          attemptTimeoutMs: 1000,
          graceMs: 5000,
          acknowledgedPath,
        },
      },
    );
    const faults: FaultRecord[] = [];
    const outages: Outage[] = [];
    const since = () => Math.round(clock.wallMs() - startedWallMs);
    /** Fault times are shares of the run, moved by the seed. */
    const until = async (share: number) => {
      const atMs = options.forMs * (share + (random.float() - 0.5) * 0.04);
      await clock.sleep(Math.max(0, atMs - since()), { signal });
    };

    await until(0.12);
    progress("cutting the WAN");
    site.wan.cut();
    faults.push({ atMs: since(), fault: "cut WAN" });

    await until(0.4);
    progress("healing the WAN");
    site.wan.heal();
    faults.push({ atMs: since(), fault: "heal WAN" });

    await until(0.5);
    const victim = random.integer(2) === 0 ? "n2" : "n3";
    progress(`killing the agent of ${victim}`);
    outages.push(await killAgent(site, victim, "SIGKILL", { clock, signal }));

    await until(0.75);
    progress("restarting the agent of n1, the server");
    outages.push(await killAgent(site, "n1", "SIGTERM", { clock, signal }));

    await until(1);
    progress("load ends; waiting for what is in flight");
    const [requestResult, entryResult] = await Promise.all([requests.finish(), entries.finish()]);
    progress("counting acknowledged entries in every store");
    const check = await startWorker<EntryCheckConfig, EntryCheckResult>(
      entryUrl(import.meta.url, "../checkers/entries.entry"),
      {
        dir: options.dir,
        name: "check",
        untilFinished: false,
        config: {
          acknowledgedPath,
          stream,
          timeoutMs: hubCatchUpMs,
          views: [
            ...site.nodes.map((node) => ({
              name: node.node,
              url: node.gateway,
              token: node.token,
            })),
            {
              name: "hub",
              url: site.hubAccess.server,
              query: { cell: "drill" },
              tls: {
                key: site.hubAccess.keyPem,
                cert: site.hubAccess.chainPem,
                ca: site.hubAccess.anchorsPem.join("\n"),
                servername: site.hubAccess.serverName,
              },
            },
          ],
        },
      },
    ).finish();
    const after = await podsOf(site);

    for (const outage of outages) outage.toMs = backAt(requestResult.samples, outage);
    for (const { node, fromMs, toMs } of outages) {
      faults.push({
        atMs: Math.round(fromMs - startedWallMs),
        fault: node === "n1" ? "restart agent n1" : `kill agent ${node}`,
        recoveredMs: Math.round(toMs - fromMs),
      });
    }
    return report(options, { requestResult, entryResult, check, before, after, faults, outages });
  } finally {
    progress("taking the site down");
    await site.close();
  }
}

function report(
  options: DrillOptions,
  seen: {
    requestResult: RequestLoadResult;
    entryResult: EntryLoadResult;
    check: EntryCheckResult;
    before: ReadonlyMap<string, string>;
    after: ReadonlyMap<string, string>;
    faults: readonly FaultRecord[];
    outages: readonly Outage[];
  },
): DrillReport {
  const { samples } = seen.requestResult;
  const failed = samples.filter((sample) => sample.failure !== undefined);
  const throughLiving = failed.filter(
    (sample) => !seen.outages.some((outage) => touches(outage, sample)),
  );
  for (const sample of throughLiving.slice(0, 5)) {
    options.progress(
      `failed through a living node: ${sample.target} at ${Math.round(sample.atMs)}: ${sample.failure}`,
    );
  }
  for (const view of seen.check.views) {
    for (const example of [
      ...view.examples,
      ...(view.failure === undefined ? [] : [view.failure]),
    ]) {
      options.progress(`${view.name}: ${example}`);
    }
  }
  const took = ascending(
    samples.flatMap((sample) => (sample.failure === undefined ? [sample.tookMs] : [])),
  );
  const lost = Math.max(...seen.check.views.map((view) => view.lost));
  const duplicated = Math.max(...seen.check.views.map((view) => view.duplicated));
  const hub = seen.check.views.find((view) => view.name === "hub");
  const changed = [...seen.before].filter(([uid, pids]) => seen.after.get(uid) !== pids).length;
  const worstMs = Math.max(...seen.outages.map(({ fromMs, toMs }) => toMs - fromMs));
  const promises = [
    atMost("D1", "acknowledged entries lost, in the hub and in every node", lost, 0, "entries"),
    atMost(
      "D2",
      "acknowledged entries duplicated, in the hub and in every node",
      duplicated,
      0,
      "entries",
    ),
    atLeast(
      "D3",
      "entries resent on purpose",
      seen.entryResult.resent,
      Math.floor(seen.entryResult.acknowledged * 0.05),
      "entries",
    ),
    atMost(
      "D4",
      "hub caught up after the heal and the end of the load",
      hub?.completeAfterMs ?? Number.MAX_SAFE_INTEGER,
      hubCatchUpMs,
      "ms",
    ),
    atMost(
      "A1",
      "failed idempotent requests through nodes whose agent lives",
      throughLiving.length,
      0,
      "requests",
    ),
    atLeast(
      "A2",
      "idempotent requests sent",
      samples.length,
      Math.floor((options.forMs / 60_000) * 10_000),
      "requests",
    ),
    atMost(
      "A3",
      "ingress of a killed or restarted agent back",
      Math.round(worstMs),
      ingressBackMs,
      "ms",
    ),
    atMost("A4", "pods whose uid or pid changed", changed, 0, "pods"),
  ];
  return {
    drill: "quick",
    ok: promises.every((promise) => promise.ok),
    seed: options.seed,
    promises,
    load: {
      sent: samples.length,
      failed: failed.length,
      p50Ms: round(percentile(took, 0.5)),
      p99Ms: round(percentile(took, 0.99)),
      availability:
        samples.length === 0 ? 0 : (samples.length - throughLiving.length) / samples.length,
    },
    data: { acknowledged: seen.check.acknowledged, lost, duplicated },
    faults: [...seen.faults].sort((a, b) => a.atMs - b.atMs),
  };
}

const round = (value: number | undefined) => Math.round((value ?? 0) * 10) / 10;

/** A request that was under way at any moment of the outage may fail with it. */
const touches = (outage: Outage, sample: RequestSample) =>
  sample.target === outage.node &&
  sample.atMs + sample.tookMs >= outage.fromMs &&
  sample.atMs <= outage.toMs;

/** When a request that began after the outage was first answered by that node. */
function backAt(samples: readonly RequestSample[], outage: Outage): number {
  const answered = samples
    .filter(
      (sample) =>
        sample.target === outage.node &&
        sample.failure === undefined &&
        sample.atMs > outage.fromMs,
    )
    .filter((sample) => sample.atMs > (lastFailure(samples, outage) ?? 0))
    .map((sample) => sample.atMs + sample.tookMs);
  return answered.length === 0 ? Number.MAX_SAFE_INTEGER : Math.min(...answered);
}

/** The last failed request of that node in the ten seconds after its fault. */
function lastFailure(
  samples: readonly RequestSample[],
  { node, fromMs }: Outage,
): number | undefined {
  const times = samples
    .filter((sample) => sample.target === node && sample.failure !== undefined)
    .filter((sample) => sample.atMs >= fromMs && sample.atMs < fromMs + 10_000)
    .map((sample) => sample.atMs);
  return times.length === 0 ? undefined : Math.max(...times);
}

async function killAgent(
  site: Site,
  node: string,
  how: "SIGKILL" | "SIGTERM",
  deps: Pick<DrillOptions, "clock" | "signal">,
): Promise<Outage> {
  const { agentPid } = site.nodeInfo(node);
  const fromMs = deps.clock.wallMs();
  process.kill(agentPid, how);
  const giveUpMs = fromMs + 20_000;
  while (site.nodeInfo(node).agentPid === agentPid) {
    if (deps.clock.wallMs() > giveUpMs) {
      throw new SkerryError({
        code: "drill-step-failed",
        message: `the agent of ${node} was not restarted within 20 s`,
      });
    }
    await deps.clock.sleep(20, { signal: deps.signal });
  }
  return { node, fromMs, toMs: deps.clock.wallMs() };
}

/** Pids of every pod's containers by the pod's uid. */
async function podsOf(site: Site): Promise<Map<string, string>> {
  const dataDir = site.nodes[0]?.dataDir ?? "";
  const status = await skerryJson<CellStatus>(["status", "--data", dataDir]);
  const own = status.pods.filter((pod) => pod.namespace === "default");
  if (own.length === 0)
    throw new SkerryError({ code: "drill-step-failed", message: "status names no pods" });
  return new Map(own.map((pod) => [pod.uid, JSON.stringify(pod.pids)]));
}

function hostPort(address: string): { host: string; port: number } {
  const at = address.lastIndexOf(":");
  return { host: address.slice(0, at), port: Number(address.slice(at + 1)) };
}
