/**
 * `quick`: about two minutes. The WAN is cut and healed, an agent is killed, the server's agent
 * restarts; a node is cut off and killed, another one frozen; at last the server's machine is lost;
 * all under load on HTTP and MQTT.
 */
import type { EntryCheckResult } from "../checkers/entries.ts";
import type { Drill, DrillOptions, DrillReport } from "../drill.ts";
import { podProcesses, waitWhole } from "../site/whole.ts";
import type { Running } from "../site/worker.ts";
import { killAgent } from "./kill-agent.ts";
import type { Loss } from "./loss-verdict.ts";
import { loseNode, wholePatienceMs } from "./losses.ts";
import { judgeQuick, type QuickSeen } from "./quick-verdict.ts";
import { loseServer } from "./server-loss.ts";
import { withStage, type Stage } from "./stage.ts";
import { hubCatchUpMs } from "./verdict.ts";
import { nextVictim } from "./victims.ts";

const podsPatienceMs = 15_000;
/** So that something is kept from the hub also in a short run. */
const wanAwayMsMin = 3000;
/** Long enough for the others to notice, to be questioned, and to pass entries on. */
const serverAwayMs = 6000;

export const quick: Drill = {
  name: "quick",
  summary: "WAN cut, agents killed, a node cut off and killed, one frozen, the server lost",
  faults: [
    "cut WAN",
    "heal WAN",
    "kill the agent of n2 or n3",
    "restart the agent of n1 (the server)",
    "cut off and kill n2 or n3, then start it again (as root)",
    "freeze the other, then thaw it (as root)",
    "cut off and kill the machine of n1, then start it again (as root)",
  ],
  needs: "machines",
  defaultForMs: 75_000,
  run: (options) => withStage(options, (stage) => play(stage, options)),
};

async function play(stage: Stage, { progress }: DrillOptions): Promise<DrillReport> {
  const { clock, signal, site } = stage;
  const all = site.nodes.map(({ node }) => node);
  const processes = () =>
    podProcesses(site, {
      from: "n1",
      nodes: all,
      clock,
      signal,
      timeoutMs: podsPatienceMs * stage.slowness,
    });
  const before = await processes();

  const { atCut, healed } = await cutWan(stage);
  await stage.until(0.22);
  const agents = [await killAgent(stage, stage.dice.integer(2) === 0 ? "n2" : "n3", "SIGKILL")];
  await stage.until(0.3);
  agents.push(await killAgent(stage, "n1", "SIGTERM"));
  await stage.until(0.38);
  await waitWhole(site, { clock, signal, timeoutMs: wholePatienceMs });
  const after = await processes();

  const machines = site.canCut ? await loseMachines(stage) : undefined;
  if (!machines) progress("no links to cut here: machines lost, frozen and cut off are left out");
  await stage.until(1);
  const seen = await stage.finish();
  const { report, remarks } = judgeQuick({
    ...seen,
    atCut,
    atHeal: await healed.finish(),
    before,
    after,
    agents: agents.map(({ fault }) => fault),
    ...(machines ? { machines: { ...machines, entriesByNode: seen.entries.byNode } } : {}),
  });
  for (const remark of remarks) progress(remark);
  return report;
}

async function cutWan(
  stage: Stage,
): Promise<{ atCut: EntryCheckResult; healed: Running<EntryCheckResult> }> {
  const { clock, progress, site, faults } = stage;
  await stage.until(0.04);
  progress("cutting the WAN");
  site.wan.cut();
  faults.push({ atMs: stage.since(), fault: "cut WAN" });

  await Promise.all([stage.until(0.18), clock.sleep(wanAwayMsMin, { signal: stage.signal })]);
  const toHub = { acknowledgedPath: stage.copyAcknowledged("before-heal"), views: ["hub"] };
  const atCut = await stage.startCheck("cut", { ...toHub, timeoutMs: 0 }).finish();
  progress("healing the WAN");
  site.wan.heal();
  faults.push({ atMs: stage.since(), fault: "heal WAN" });
  const healed = stage.startCheck("healed", {
    ...toHub,
    timeoutMs: hubCatchUpMs * stage.slowness,
    sinceWallMs: clock.wallMs(),
  });
  return { atCut, healed };
}

async function loseMachines(
  stage: Stage,
): Promise<Omit<NonNullable<QuickSeen["machines"]>, "entriesByNode">> {
  const losses: Loss[] = [];
  let podsOff = 0;
  const timesByNode = new Map<string, number>();
  for (const [kind, share] of [
    ["cut and kill", 0.42],
    ["freeze", 0.6],
  ] as const) {
    await stage.until(share);
    const victim = await nextVictim(stage, timesByNode);
    timesByNode.set(victim, (timesByNode.get(victim) ?? 0) + 1);
    const outcome = await loseNode(stage, victim, kind);
    losses.push(outcome.loss);
    podsOff = Math.max(podsOff, outcome.podsOff);
  }
  await stage.until(0.8);
  const { podsOff: afterServer, ...server } = await loseServer(stage, {
    holdMs: serverAwayMs,
    untouched: ["n2", "n3"],
  });
  return { losses, podsOff: Math.max(podsOff, afterServer), server };
}
