/**
 * `soak`: load and repeating faults for a quarter of an hour, to see whether memory, file handles, threads
 * or files grow with them. The faults come in rounds, in an order from the seed; a first part of the run
 * without faults says what is normal, a last part what has stayed.
 */
import { basename } from "node:path";
import type { Drill, DrillReport } from "../drill.ts";
import type { MachineName } from "../site/network.ts";
import { waitWhole } from "../site/whole.ts";
import { killAgent } from "./kill-agent.ts";
import { loseNode, pauseNode, wholePatienceMs } from "./losses.ts";
import { collectableEnvironment } from "./soak-collect.ts";
import { growthLine, growthOf, soakPromises, type SoakSeen } from "./soak-verdict.ts";
import { filesBelow, watchProcesses } from "./soak-watch.ts";
import { withStage, type Stage } from "./stage.ts";
import { dataPromises, endOutages, remarksOn, reportOf, requestPromises } from "./verdict.ts";
import { nextVictim } from "./victims.ts";

/** Of the run. */
const faultsFrom = 0.2;
const faultsUntil = 0.7;
/** A new agent is judged when it was watched for so long after its warm-up: who is killed later never is. */
const judgedWithinMs = 130_000;
/** In a run that is too short to judge anybody agents are killed all the same. */
const killsAtLeastUntil = 0.3;
const quietFrom = 0.8;
/**
 * For each process from its start. Under this load an agent gains some 20 MB in its first four minutes
 * (what is compiled, SQLite's pages, connections and their buffers), and then stays where it is.
 */
const warmUpMs = 240_000;
const cutMs = 4000;
const betweenFaultsMs = 5000;
const machines: readonly MachineName[] = ["hub", "n1", "n2", "n3"];

type Fault = "cut WAN" | "kill agent" | "pause node" | "freeze node" | "cut link";

export const soak: Drill = {
  name: "soak",
  summary: "a quarter of an hour of load and repeating faults: nothing may grow",
  faults: [
    "in rounds: WAN cut, an agent killed, a node paused",
    "a node frozen until it is replaced, a node's link cut (as root)",
  ],
  needs: "machines",
  defaultForMs: 900_000,
  run: (options) => withStage({ ...options, env: collectableEnvironment }, play),
};

async function play(stage: Stage): Promise<DrillReport> {
  const { site, clock, signal, forMs, progress } = stage;
  using watch = watchProcesses(stage, machines);
  await stage.until(faultsFrom);
  const firstFaultMs = stage.since();
  while (stage.since() < forMs * faultsUntil) await round(stage);
  await waitWhole(site, { clock, signal, timeoutMs: wholePatienceMs * stage.slowness });
  await stage.until(quietFrom);
  const quietFromMs = stage.since();
  await stage.until(1);
  const soaked: SoakSeen = {
    ...watch.finish(),
    warmUpMs,
    firstFaultMs,
    quietFromMs,
    otherFilesBytes: otherFiles(stage),
  };
  const seen = await stage.finish();
  const outages = endOutages(seen);
  for (const growth of growthOf(soaked)) progress(growthLine(growth));
  for (const remark of remarksOn(seen, outages)) progress(remark);
  return reportOf("soak", seen, {
    promises: [...soakPromises(soaked), ...dataPromises(seen), ...requestPromises(seen, outages)],
    outages,
    faults: seen.faults,
  });
}

/** Every fault once, in an order from the seed, while there is time. */
async function round(stage: Stage): Promise<void> {
  const { site, dice, clock, signal, forMs } = stage;
  const left: Fault[] = ["cut WAN", "pause node"];
  const killsUntilMs = Math.max(forMs * killsAtLeastUntil, forMs - warmUpMs - judgedWithinMs);
  if (stage.since() < killsUntilMs) left.push("kill agent");
  if (site.canCut) left.push("freeze node", "cut link");
  while (left.length > 0 && stage.since() < forMs * faultsUntil) {
    const [fault] = left.splice(dice.integer(left.length), 1);
    if (fault) await strike(stage, fault);
    await clock.sleep(betweenFaultsMs, { signal });
  }
}

async function strike(stage: Stage, fault: Fault): Promise<void> {
  const { site, dice, clock, signal, progress, faults } = stage;
  const anyNode = () => site.nodes[dice.integer(site.nodes.length)]?.node ?? "";
  const anyWorker = () => site.nodes[1 + dice.integer(site.nodes.length - 1)]?.node ?? "";
  switch (fault) {
    case "cut WAN":
      progress("cutting the WAN");
      faults.push({ atMs: stage.since(), fault: "cut WAN" });
      site.wan.cut();
      await clock.sleep(cutMs, { signal });
      site.wan.heal();
      return;
    case "kill agent":
      await killAgent(stage, anyNode(), "SIGKILL");
      return;
    case "pause node":
      await pauseNode(stage, anyWorker());
      return;
    case "freeze node":
      await waitWhole(site, { clock, signal, timeoutMs: wholePatienceMs * stage.slowness });
      await loseNode(stage, await nextVictim(stage, new Map()), "freeze");
      return;
    case "cut link": {
      const node = anyWorker();
      progress(`cutting the link of ${node}`);
      const begin = {
        node,
        fault: `cut link of ${node}`,
        atMs: stage.since(),
        fromMs: clock.wallMs(),
      };
      await site.cutLink(node);
      await clock.sleep(cutMs, { signal });
      await site.healLink(node);
      stage.outages.push({ ...begin, returnedMs: clock.wallMs() });
      await waitWhole(site, { clock, signal, timeoutMs: wholePatienceMs * stage.slowness });
    }
  }
}

/** Stores of entries grow with the entries; what was compiled is Node's, and once. */
function otherFiles({ site }: Stage): number {
  return filesBelow(machines.map((machine) => site.dataDirOf(machine)))
    .entries()
    .filter(([path]) => !/^(streams|hub)\.db/.test(basename(path)) && !path.includes("/cache/"))
    .reduce((total, [, bytes]) => total + bytes, 0);
}
