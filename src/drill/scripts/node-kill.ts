/**
 * `node-kill`: machines that are not the server die in every way a machine can (killed, cut off and
 * killed, frozen), and are paused for so short a time that nothing may come of it, in an order that
 * comes from the seed. Each node dies at most twice: a third time it would rightly be given longer.
 */
import { atMost, type Drill, type DrillReport } from "../drill.ts";
import { concludeLosses, loseNode, pauseNode, type LossKind, type LostMachine } from "./losses.ts";
import { withStage, type Stage } from "./stage.ts";
import { nextVictim } from "./victims.ts";

type Step = LossKind | "pause";

/** Every way at least once; the fourth loss is any of them. */
const ways: readonly LossKind[] = ["kill", "cut and kill", "freeze"];

export const nodeKill: Drill = {
  name: "node-kill",
  summary: "nodes killed, cut off and killed, frozen, and paused too briefly for anybody to act",
  faults: [
    "four losses of n2 and n3, each back before the next: killed, cut off and killed, frozen",
    "two pauses of less than a second",
  ],
  needs: "links",
  defaultForMs: 90_000,
  run: (options) => withStage(options, play),
};

async function play(stage: Stage): Promise<DrillReport> {
  const { dice, site } = stage;
  const steps = shuffled(
    [...ways, ways[dice.integer(ways.length)] ?? "kill", "pause", "pause"] as readonly Step[],
    (bound) => dice.integer(bound),
  );
  const lost: LostMachine[] = [];
  const timesByNode = new Map<string, number>();
  let replacedByPause = 0;
  for (const [index, step] of steps.entries()) {
    await stage.until(0.05 + (index / steps.length) * 0.9);
    if (step === "pause") {
      const workers = site.nodes.slice(1);
      replacedByPause += await pauseNode(stage, workers[dice.integer(workers.length)]?.node ?? "");
      continue;
    }
    const victim = await nextVictim(stage, timesByNode);
    timesByNode.set(victim, (timesByNode.get(victim) ?? 0) + 1);
    lost.push(await loseNode(stage, victim, step));
  }
  await stage.until(1);
  return await concludeLosses(stage, "node-kill", lost, {
    promises: [
      atMost("R5", "pods made because of a pause below a second", replacedByPause, 0, "pods"),
    ],
  });
}

/** Fisher and Yates. */
function shuffled<T>(items: readonly T[], below: (bound: number) => number): T[] {
  const result = [...items];
  for (let last = result.length - 1; last > 0; last--) {
    const other = below(last + 1);
    [result[last], result[other]] = [result[other] as T, result[last] as T];
  }
  return result;
}
