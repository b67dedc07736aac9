/** The server's machine goes away, stays away, and comes back; meanwhile the others are questioned. */
import { configMapKind } from "../../api/index.ts";
import { explain } from "../../lib/errors.ts";
import { podProcesses, podsOffAfter, waitUntil } from "../site/whole.ts";
import { wholePatienceMs } from "./losses.ts";
import type { Attempt, ServerLossSeen } from "./server-verdict.ts";
import type { Stage } from "./stage.ts";

const attemptPeriodMs = 500;
const countTimeoutMs = 20_000;
const patienceMs = 30_000;

/**
 * Away for at least `holdMs`. `meanwhile` happens in between; the pods of nodes it names `untouched`
 * must be the same afterwards.
 */
export async function loseServer(
  stage: Stage,
  options: {
    readonly holdMs: number;
    readonly untouched: readonly string[];
    readonly meanwhile?: () => Promise<void>;
  },
): Promise<
  Omit<ServerLossSeen, "samples" | "entries" | "slowness"> & { readonly podsOff: number }
> {
  const { site, clock, signal, progress } = stage;
  const patience = { clock, signal, timeoutMs: patienceMs };
  const [server = "", ...others] = site.nodes.map(({ node }) => node);
  const witness = options.untouched[0] ?? "";
  const look = { from: witness, nodes: options.untouched, ...patience };
  await writeThrough(stage, witness, -1);
  const before = await podProcesses(site, look);

  progress(`losing the machine of ${server}, the server`);
  const begin = {
    node: server,
    fault: `lose server ${server}`,
    atMs: stage.since(),
    fromMs: clock.wallMs(),
  };
  await site.cutLink(server);
  await site.killNode(server);
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

  progress(`${server} comes back`);
  const returnedMs = clock.wallMs();
  await site.healLink(server);
  await site.startNode(server);
  const readyMs = clock.wallMs();
  stage.outages.push({ ...begin, returnedMs: readyMs });
  const writesBackMs = await writesBack(stage, witness, readyMs);
  const podsOff = await podsOffAfter(site, { ...patience, timeoutMs: wholePatienceMs });
  return {
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

async function attempt({ clock }: Stage, action: () => Promise<unknown>): Promise<Attempt> {
  const startedMs = clock.monotonicMs();
  try {
    await action();
    return { tookMs: clock.monotonicMs() - startedMs };
  } catch (error) {
    return { tookMs: clock.monotonicMs() - startedMs, failure: explain(error) };
  }
}

/** Written once before the loss, so that there is something to read. */
function writeThrough({ site }: Stage, node: string, turn: number): Promise<unknown> {
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
