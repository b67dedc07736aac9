/**
 * The server's machine goes away, or so many that the quorum is lost, stay away, and come back;
 * meanwhile the others are questioned.
 */
import { configMapKind } from "../../api/index.ts";
import { explain } from "../../lib/errors.ts";
import { atMost, type DrillReport, type FaultRecord, type PromiseResult } from "../drill.ts";
import { podProcesses, podsOffAfter, waitUntil } from "../site/whole.ts";
import { wholePatienceMs } from "./losses.ts";
import {
  serverPromises,
  serverRecord,
  serverRemarks,
  type Attempt,
  type Lost,
  type ServerLossSeen,
} from "./server-verdict.ts";
import type { Stage } from "./stage.ts";
import {
  dataPromises,
  endOutages,
  ingressBackPromise,
  remarksOn,
  reportOf,
  requestPromises,
  type EndedOutage,
} from "./verdict.ts";

const attemptPeriodMs = 500;
const countTimeoutMs = 20_000;
const patienceMs = 30_000;

/** What is known once all are back, before the load has ended. */
export type ServerLoss = Omit<ServerLossSeen, "samples" | "entries" | "slowness"> & {
  /** Too many or too few. */
  readonly podsOff: number;
};

/**
 * Away for at least `holdMs`. `meanwhile` happens in between; the pods of nodes it names `untouched`
 * must be the same afterwards.
 */
export async function loseServer(
  stage: Stage,
  options: {
    /** Default: the first node, which is the only server. */
    readonly lost?: { readonly what: Lost; readonly nodes: readonly string[] };
    readonly holdMs: number;
    readonly untouched: readonly string[];
    readonly meanwhile?: () => Promise<void>;
  },
): Promise<ServerLoss> {
  const { site, clock, signal, progress } = stage;
  const patience = { clock, signal, timeoutMs: patienceMs };
  const all = site.nodes.map(({ node }) => node);
  const lost = options.lost ?? { what: "server", nodes: all.slice(0, 1) };
  const others = all.filter((node) => !lost.nodes.includes(node));
  const witness = options.untouched[0] ?? "";
  const look = { from: witness, nodes: options.untouched, ...patience };
  await waitUntil(
    "a write before the loss",
    async () => ({ found: await writeThrough(stage, witness, -1) }),
    patience,
  );
  const before = await podProcesses(site, look);

  progress(`losing ${lost.nodes.join(" and ")}: ${lost.what} lost`);
  const begun = lost.nodes.map((node) => ({
    node,
    fault: `lose server ${node}`,
    atMs: stage.since(),
    fromMs: clock.wallMs(),
  }));
  const [begin] = begun;
  if (!begin) throw new RangeError("nothing to lose");
  await Promise.all(lost.nodes.map((node) => site.cutLink(node)));
  await Promise.all(lost.nodes.map((node) => site.killNode(node)));
  const fromByte = stage.acknowledgedBytes();
  const asked = questionUntil(stage, options.untouched, begin.fromMs + options.holdMs);
  await options.meanwhile?.();
  const { writes, reads } = await asked;
  progress("counting what was acknowledged meanwhile");
  const meanwhile = await stage
    .startCheck("meanwhile", {
      acknowledgedPath: stage.copyAcknowledged("meanwhile", fromByte),
      views: [...others, "hub"],
      timeoutMs: countTimeoutMs * stage.slowness,
    })
    .finish();
  const after = await podProcesses(site, look);

  progress(`${lost.nodes.join(" and ")} come${lost.nodes.length > 1 ? "" : "s"} back`);
  const returnedMs = clock.wallMs();
  await Promise.all(lost.nodes.map((node) => site.healLink(node)));
  // Together: none of them is ready before there is a quorum again.
  await Promise.all(lost.nodes.map((node) => site.startNode(node)));
  const readyMs = clock.wallMs();
  for (const one of begun) stage.outages.push({ ...one, returnedMs: readyMs });
  const writesBackMs = await writesBack(stage, witness, readyMs);
  const podsOff = await podsOffAfter(site, { ...patience, timeoutMs: wholePatienceMs });
  return {
    lost: lost.what,
    outage: { ...begin, returnedMs },
    others,
    writes,
    reads,
    before,
    after,
    meanwhile,
    podsOff,
    ...(writesBackMs === undefined ? {} : { writesBackMs }),
  };
}

/** Ends the load, and judges what every loss of a server promises; `own` is what only this drill looks at. */
export async function concludeServerLoss(
  stage: Stage,
  drill: string,
  { podsOff, ...loss }: ServerLoss,
  own: {
    /** Instead of the first machine's loss. */
    readonly fault?: string;
    readonly promises?: readonly PromiseResult[];
    readonly faults?: (outages: readonly EndedOutage[]) => readonly FaultRecord[];
  },
): Promise<DrillReport> {
  const seen = await stage.finish();
  const outages = endOutages(seen);
  const judged = {
    ...loss,
    samples: seen.requests.samples,
    entries: seen.entries,
    slowness: seen.slowness,
  };
  for (const remark of [...serverRemarks(judged), ...remarksOn(seen, outages)])
    stage.progress(remark);
  const record = serverRecord(judged);
  return reportOf(drill, seen, {
    outages,
    promises: [
      ...dataPromises(seen),
      ...requestPromises(seen, outages),
      ...serverPromises(judged),
      ingressBackPromise(outages),
      atMost("R3", "pods too many or too few after all were back", podsOff, 0, "pods"),
      ...(own.promises ?? []),
    ],
    faults: [
      ...seen.faults,
      { ...record, fault: own.fault ?? record.fault },
      ...(own.faults?.(outages) ?? []),
    ],
  });
}

/** Writes and reads as kubectl does, through one node after another; at least one each. */
async function questionUntil(
  stage: Stage,
  nodes: readonly string[],
  untilMs: number,
): Promise<{ readonly writes: readonly Attempt[]; readonly reads: readonly Attempt[] }> {
  const { site, clock, signal } = stage;
  const writes: Attempt[] = [];
  const reads: Attempt[] = [];
  for (let turn = 0; turn === 0 || clock.wallMs() < untilMs; turn++) {
    const node = nodes[turn % nodes.length] ?? "";
    writes.push(await attempt(stage, () => writeThrough(stage, node, turn)));
    reads.push(
      await attempt(stage, () =>
        site.asKubectl(node, async (cluster) => {
          if ((await cluster.list(configMapKind, { namespace: "default" })).length === 0)
            throw new Error("the mirror lists no ConfigMap, although one was written before");
        }),
      ),
    );
    await clock.sleep(attemptPeriodMs, { signal });
  }
  return { writes, reads };
}

export async function attempt({ clock }: Stage, action: () => Promise<unknown>): Promise<Attempt> {
  const [atMs, startedMs] = [clock.wallMs(), clock.monotonicMs()];
  const tookMs = () => clock.monotonicMs() - startedMs;
  try {
    await action();
    return { atMs, tookMs: tookMs() };
  } catch (error) {
    return { atMs, tookMs: tookMs(), failure: explain(error) };
  }
}

/** Written once before the loss, so that there is something to read. */
export function writeThrough({ site }: Stage, node: string, turn: number): Promise<unknown> {
  return site.asKubectl(node, (cluster) =>
    cluster.apply(configMapKind, {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "drill", namespace: "default" },
      data: { turn: String(turn) },
    }),
  );
}

async function writesBack(
  stage: Stage,
  node: string,
  readyMs: number,
): Promise<number | undefined> {
  const { clock, signal } = stage;
  try {
    return await waitUntil(
      "writes accepted again",
      async () => {
        await writeThrough(stage, node, -1);
        return { found: Math.round(clock.wallMs() - readyMs) };
      },
      { clock, signal, timeoutMs: patienceMs },
    );
  } catch (error) {
    if (signal.aborted) throw error;
    return undefined;
  }
}
