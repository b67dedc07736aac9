/**
 * `quorum-loss`: two of three servers are lost at once. The one that is left serves reads, its pods, its
 * ingress and data; writes of desired state are refused with that reason. When the others start, all
 * is as before, without a hand.
 */
import { atMost, type Drill, type DrillReport } from "../drill.ts";
import { echoPods } from "../site/whole.ts";
import { loseServer } from "./server-loss.ts";
import { serverPromises, serverRecord, serverRemarks } from "./server-verdict.ts";
import { withStage, type Stage } from "./stage.ts";
import {
  dataPromises,
  endOutages,
  ingressBackPromise,
  remarksOn,
  reportOf,
  requestPromises,
} from "./verdict.ts";

/** Long enough that what is left has noticed, and is asked for a while after. */
const awayMsMin = 8000;
const afterReturnMs = 5000;

export const quorumLoss: Drill = {
  name: "quorum-loss",
  summary:
    "two of three servers lost: reads, pods and data go on, writes say why not, until they return",
  faults: ["cut off and kill two of three servers at once", "heal and start both"],
  cutsLinks: true,
  defaultForMs: 60_000,
  run: (options) => withStage({ ...options, servers: 3 }, play),
};

async function play(stage: Stage): Promise<DrillReport> {
  const { clock, dice, forMs, progress, signal, site, slowness } = stage;
  await stage.until(0.1);
  // One with a pod, so that something is left that may go on.
  const withPods = [...new Set((await echoPods(site)).flatMap(({ spec }) => spec.nodeName ?? []))];
  const left = withPods.sort()[dice.integer(withPods.length)] ?? "";
  const lost = site.nodes.map(({ node }) => node).filter((node) => node !== left);
  site.lookFrom(left);
  const { podsOff, ...quorum } = await loseServer(stage, {
    lost: { what: "quorum", nodes: lost },
    holdMs: Math.max(forMs * 0.4, awayMsMin * slowness),
    untouched: [left],
  });
  // So that the load still finds the ingresses that are back.
  await Promise.all([
    stage.until(1),
    clock.sleep(afterReturnMs * Math.min(slowness, 4), { signal }),
  ]);
  const seen = await stage.finish();
  const outages = endOutages(seen);
  const judged = {
    ...quorum,
    samples: seen.requests.samples,
    entries: seen.entries,
    slowness: seen.slowness,
  };
  const promises = [
    ...dataPromises(seen),
    ...requestPromises(seen, outages),
    ...serverPromises(judged),
    ingressBackPromise(outages),
    atMost("R3", "pods too many or too few after all were back", podsOff, 0, "pods"),
  ];
  for (const remark of [...serverRemarks(judged), ...remarksOn(seen, outages)]) progress(remark);
  return reportOf("quorum-loss", seen, {
    promises,
    outages,
    faults: [...seen.faults, { ...serverRecord(judged), fault: `lose ${lost.join(" and ")}` }],
  });
}
