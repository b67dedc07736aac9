/**
 * `server-lost`: the only server's machine is away for most of the run. The others live on, also one
 * that loses its power meanwhile and starts from cold with nobody to ask. Then the server returns.
 */
import { atMost, type Drill, type DrillReport } from "../drill.ts";
import { podProcesses } from "../site/whole.ts";
import { concludeServerLoss, loseServer } from "./server-loss.ts";
import { withStage, type Stage } from "./stage.ts";
import { notMeasured } from "./verdict.ts";

const coldStartWithinMs = 15_000;
const podsPatienceMs = 30_000;

export const serverLost: Drill = {
  name: "server-lost",
  summary: "the server's machine lost for a while, and a worker started from cold meanwhile",
  faults: [
    "cut off and kill the machine of n1, the server",
    "kill n2 or n3 and start it again while the server is away",
    "heal and start n1",
  ],
  needs: "links",
  defaultForMs: 60_000,
  run: (options) => withStage(options, play),
};

async function play(stage: Stage): Promise<DrillReport> {
  const { dice, forMs } = stage;
  await stage.until(0.1);
  const cold = dice.integer(2) === 0 ? "n2" : "n3";
  const steady = cold === "n2" ? "n3" : "n2";
  let coldStartMs = notMeasured;
  const loss = await loseServer(stage, {
    holdMs: forMs * 0.55,
    untouched: [steady],
    async meanwhile() {
      await stage.until(0.3);
      coldStartMs = await startFromCold(stage, cold);
    },
  });
  await stage.until(1);
  return await concludeServerLoss(stage, "server-lost", loss, {
    promises: [
      atMost(
        "S9",
        "a worker started from cold, server lost: from its start until its pods run",
        coldStartMs,
        coldStartWithinMs,
        "ms",
      ),
    ],
    faults: (outages) =>
      outages
        .filter(({ node }) => node === cold)
        .map(({ atMs, fault }) => ({ atMs, fault, recoveredMs: coldStartMs })),
  });
}

/** Kills a worker whole and starts it again; answers how long its pods took, from the start on. */
async function startFromCold(stage: Stage, node: string): Promise<number> {
  const { clock, progress, signal, site } = stage;
  progress(`kill ${node} and start it from cold`);
  const begin = { node, fault: `kill ${node}`, atMs: stage.since(), fromMs: clock.wallMs() };
  await site.killNode(node);
  const startedMs = clock.wallMs();
  await site.startNode(node);
  stage.outages.push({ ...begin, returnedMs: clock.wallMs() });
  await podProcesses(site, {
    from: node,
    nodes: [node],
    clock,
    signal,
    timeoutMs: podsPatienceMs * stage.slowness,
  });
  return Math.round(clock.wallMs() - startedMs);
}
