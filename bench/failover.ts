/**
 * A node that is not the server is lost, and the only pod of an application with it: how long until the
 * application answers again through the ingress of every surviving node. Half of the trials cut the
 * node's link and then kill every process of it, half freeze every process. From the moment of the
 * fault, phase by phase; the phases after the verdict are what the cell itself says in its event
 * `PodsReplaced`, the total is what a client sees that asks each ingress every 100 ms.
 */
import { request } from "undici";
import { eventKind, nodeKind, podKind } from "../src/api/index.ts";
import { applyExample } from "../src/client/index.ts";
import { phasesAnnotation } from "../src/controllers/index.ts";
import { startSite, type Site } from "../src/drill/site/site.ts";
import { echoPods, isReady, waitUntil, waitWhole } from "../src/drill/site/whole.ts";
import { explain } from "../src/lib/errors.ts";
import { systemClock as clock } from "../src/runtime/clock/index.ts";
import { inFolder, median, type BenchOptions, type BenchResult } from "./support/bench.ts";
import { ownNetwork } from "./support/own-network.ts";

export const about = "a node lost, cut off and killed or frozen: until its pod answers elsewhere";

/** node-monitor-grace-period 50 s and the default toleration of 300 s; documented, not measured here. */
const kubernetesDocumentedMs = 350_000;
const trialsDefault = 20;
/** A node that dies a third time within ten minutes is given longer, as it should be. */
const trialsPerSite = 4;
const probeEveryMs = 100;
const probeTimeoutMs = 5000;
const patienceMs = 60_000;

const phases = ["detect", "decide", "schedule", "start", "route", "total"] as const;
type Phase = (typeof phases)[number];
type Kind = "cut, then killed" | "killed" | "frozen whole";
type Trial = { readonly kind: Kind; readonly failedProbes: number } & Record<Phase, number>;

export async function run(given: BenchOptions): Promise<BenchResult> {
  const { network, signal } = await ownNetwork(given, { subnet: 71 });
  const options = { ...given, signal };
  const { progress } = options;
  const trials: Trial[] = [];
  const wanted = options.trials ?? trialsDefault;
  while (trials.length < wanted) {
    await inFolder(async (dir) => {
      const site = await startSite({ dir, cell: "bench", network, clock, signal, progress });
      try {
        await applyExample(site.cluster, {
          name: "echo",
          replicas: 1,
          port: 18_080,
          nodePath: process.execPath,
        });
        for (let left = Math.min(trialsPerSite, wanted - trials.length); left > 0; left--) {
          const trial = await lose(site, trials.length, options);
          trials.push(trial);
          const told = phases.map((phase) => `${phase} ${Math.round(trial[phase])}`).join(", ");
          progress(`${trials.length} of ${wanted}: ${trial.kind}: ${told} ms`);
        }
      } finally {
        await site.close();
      }
    });
  }
  return resultOf(trials);
}

async function lose(site: Site, index: number, options: BenchOptions): Promise<Trial> {
  const patience = { clock, signal: options.signal, timeoutMs: patienceMs };
  const victim = index % 2 === 0 ? "n2" : "n3";
  // Both kinds on both nodes.
  const freezes = index % 4 === 1 || index % 4 === 2;
  const kind: Kind = freezes ? "frozen whole" : site.canCut ? "cut, then killed" : "killed";
  const lost = await placeOn(site, victim, options);
  const survivors = site.nodes.filter(({ node }) => node !== victim);
  const probes = startProbes(survivors.map(({ ingress }) => `http://${ingress}/echo`));
  try {
    await waitUntil(
      "the ingresses to reach the pod",
      async () => (probes.firstBy((pod) => pod === lost) ? { found: true } : { missing: lost }),
      patience,
    );
    const faultMs = clock.wallMs();
    if (freezes) await site.freezeNode(victim);
    else {
      if (site.canCut) await site.cutLink(victim);
      await site.killNode(victim);
    }
    const servedMs = await waitUntil<number>(
      `another pod than ${lost} to answer through every ingress`,
      async () => {
        const found = probes.firstBy((pod) => pod !== lost, faultMs);
        return found === undefined ? { missing: probes.lastFailure() } : { found };
      },
      patience,
    );
    const told = await waitUntil<Told>(
      "the event of the replacement",
      async () => {
        const found = await replacementSince(site, victim, faultMs);
        return found ? { found } : { missing: "no such event" };
      },
      patience,
    );
    const failedProbes = probes.failedSince(servedMs);
    probes.stop();

    if (kind === "cut, then killed") await site.healLink(victim);
    if (freezes) site.thawNode(victim);
    else await site.startNode(victim);
    await waitWhole(site, patience);
    return {
      kind,
      failedProbes,
      detect: told.judgedMs - faultMs,
      decide: told.decidedMs,
      schedule: told.scheduledMs - told.decidedMs,
      start: told.startedMs - told.scheduledMs,
      route: told.routedMs - told.startedMs,
      total: servedMs - faultMs,
    };
  } finally {
    probes.stop();
  }
}

/** The application's one pod, ready on that node and nowhere else; its name. */
async function placeOn(site: Site, node: string, { signal }: BenchOptions): Promise<string> {
  const cordonOthers = async (unschedulable: boolean) => {
    for (const other of site.nodes) {
      if (other.node === node) continue;
      const spec = { unschedulable };
      const metadata = { name: other.node };
      await site.cluster.apply(nodeKind, { apiVersion: "v1", kind: "Node", metadata, spec });
    }
  };
  await cordonOthers(true);
  for (const { metadata, spec } of await echoPods(site))
    if (spec.nodeName !== node) await site.cluster.delete(podKind, metadata);
  const pod = await waitUntil<string>(
    `the pod on ${node}`,
    async () => {
      const [found, ...more] = await echoPods(site);
      return found && more.length === 0 && found.spec.nodeName === node && isReady(found)
        ? { found: found.metadata.name }
        : { missing: `${more.length + (found ? 1 : 0)} pods, ${found?.spec.nodeName ?? "none"}` };
    },
    { clock, signal, timeoutMs: patienceMs },
  );
  await cordonOthers(false);
  return pod;
}

type Told = { readonly judgedMs: number } & Record<
  "decidedMs" | "scheduledMs" | "startedMs" | "routedMs",
  number
>;

async function replacementSince(
  site: Site,
  node: string,
  sinceMs: number,
): Promise<Told | undefined> {
  const events = await site.cluster.list(eventKind, { namespace: "default" });
  const told = events
    .filter(
      ({ reason, involvedObject }) => reason === "PodsReplaced" && involvedObject.name === node,
    )
    .map(({ metadata }) => JSON.parse(metadata.annotations?.[phasesAnnotation] ?? "{}"))
    .map((phase) => ({ ...phase, judgedMs: Date.parse(phase.judgedAt) }) as Told);
  return told.find(({ judgedMs }) => judgedMs >= sinceMs);
}

type Sample = {
  readonly url: string;
  readonly sentMs: number;
  readonly endMs: number;
  readonly pod?: string;
  readonly why?: string;
};

async function ask(url: string): Promise<Pick<Sample, "pod" | "why">> {
  try {
    const answer = await request(url, { signal: AbortSignal.timeout(probeTimeoutMs) });
    const text = await answer.body.text();
    if (answer.statusCode !== 200) return { why: `${answer.statusCode} ${text}` };
    return { pod: (JSON.parse(text) as { pod: string }).pod };
  } catch (error) {
    return { why: explain(error) };
  }
}

/** Open loop: each ingress is asked every 100 ms, whatever became of the questions before. */
function startProbes(urls: readonly string[]) {
  const samples: Sample[] = [];
  const probe = async (url: string) => {
    const sentMs = clock.wallMs();
    const outcome = await ask(url);
    samples.push({ url, sentMs, endMs: clock.wallMs(), ...outcome });
  };
  const timer = setInterval(() => {
    for (const url of urls) void probe(url);
  }, probeEveryMs);
  return {
    /** When the last of the ingresses first had such an answer; undefined while one has not. */
    firstBy(isIt: (pod: string) => boolean, sinceMs = 0): number | undefined {
      const firsts = urls.map((url) =>
        samples.find(
          (one) =>
            one.url === url && one.endMs >= sinceMs && one.pod !== undefined && isIt(one.pod),
        ),
      );
      const ends = firsts.flatMap((first) => first?.endMs ?? []);
      return ends.length === urls.length ? Math.max(...ends) : undefined;
    },
    /** Failures after the application was back: there should be none. */
    failedSince: (sinceMs: number) =>
      samples.filter(({ why, sentMs }) => why !== undefined && sentMs > sinceMs).length,
    lastFailure: () => samples.findLast(({ why }) => why !== undefined)?.why ?? "no failure",
    stop: () => clearInterval(timer),
  };
}

function resultOf(trials: readonly Trial[]): BenchResult {
  const figures: Record<string, number> = { trials: trials.length };
  const worst = (values: readonly number[]) => Math.max(...values);
  for (const phase of phases) {
    const values = trials.map((trial) => trial[phase]);
    figures[`${phase}MsMedian`] = median(values);
    figures[`${phase}MsMax`] = worst(values);
  }
  const kinds = [...new Set(trials.map(({ kind }) => kind))];
  const table = [
    ...phases.map((phase) => ({
      what: phase === "total" ? "total (as a client sees it)" : phase,
      "median ms": Math.round(figures[`${phase}MsMedian`] ?? Number.NaN),
      "max ms": Math.round(figures[`${phase}MsMax`] ?? Number.NaN),
    })),
    ...kinds.map((kind) => {
      const totals = trials.filter((trial) => trial.kind === kind).map(({ total }) => total);
      const key = kind === "frozen whole" ? "frozen" : "killed";
      figures[`${key}MsMedian`] = median(totals);
      figures[`${key}MsMax`] = worst(totals);
      return {
        what: `total, ${kind} (${totals.length})`,
        "median ms": Math.round(median(totals)),
        "max ms": Math.round(worst(totals)),
      };
    }),
    {
      what: "Kubernetes (documented default, not measured here: grace 50 s + toleration 300 s)",
      "median ms": kubernetesDocumentedMs,
      "max ms": kubernetesDocumentedMs,
    },
  ];
  figures["failedProbesAfterwards"] = trials.reduce((sum, trial) => sum + trial.failedProbes, 0);
  figures["kubernetesDocumentedMs"] = kubernetesDocumentedMs;
  return { ratios: {}, figures, table };
}
