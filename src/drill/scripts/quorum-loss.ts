/**
 * `quorum-loss`: two of three servers are lost at once. The one that is left serves reads, its pods, its
 * ingress and data; writes of desired state are refused with that reason. When the others start, all
 * is as before, without a hand.
 */
import type { Drill, DrillReport } from "../drill.ts";
import { echoPods } from "../site/whole.ts";
import { concludeServerLoss, loseServer } from "./server-loss.ts";
import { withStage, type Stage } from "./stage.ts";

/** Long enough that what is left has noticed, and is asked for a while after. */
const awayMsMin = 8000;
const afterReturnMs = 5000;

export const quorumLoss: Drill = {
  name: "quorum-loss",
  summary:
    "two of three servers lost: reads, pods and data go on, writes say why not, until they return",
  faults: ["cut off and kill two of three servers at once", "heal and start both"],
  needs: "links",
  defaultForMs: 60_000,
  run: (options) => withStage({ ...options, servers: 3 }, play),
};

async function play(stage: Stage): Promise<DrillReport> {
  const { clock, dice, forMs, signal, site, slowness } = stage;
  await stage.until(0.1);
  // One with a pod, so that something is left that may go on.
  const withPods = [...new Set((await echoPods(site)).flatMap(({ spec }) => spec.nodeName ?? []))];
  const left = withPods.sort()[dice.integer(withPods.length)] ?? "";
  const lost = site.nodes.map(({ node }) => node).filter((node) => node !== left);
  site.lookFrom(left);
  const loss = await loseServer(stage, {
    lost: { what: "quorum", nodes: lost },
    holdMs: Math.max(forMs * 0.4, awayMsMin * slowness),
    untouched: [left],
  });
  // So that the load still finds the ingresses that are back.
  await Promise.all([
    stage.until(1),
    clock.sleep(afterReturnMs * Math.min(slowness, 4), { signal }),
  ]);
  return await concludeServerLoss(stage, "quorum-loss", loss, {
    fault: `lose ${lost.join(" and ")}`,
  });
}
