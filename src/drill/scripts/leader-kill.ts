/**
 * `leader-kill`: of three servers the one that leads is cut off and killed, comes back, and so does its
 * successor: writes are accepted again and its pods replaced, soon, while nothing acknowledged is lost.
 */
import { atMost, type Drill, type DrillReport } from "../drill.ts";
import { ledgerLeader, loseLeader, type LeaderLoss } from "./leader-loss.ts";
import { concludeLosses } from "./losses.ts";
import { withStage, type Stage } from "./stage.ts";
import { notMeasured } from "./verdict.ts";

/** What a cell of several servers promises for the one that led. */
const leaderReplacedWithinMs = 5000;
const losses = 2;

export const leaderKill: Drill = {
  name: "leader-kill",
  summary: "the leading server cut off and killed, then its successor: writes and pods come back",
  faults: ["cut off and kill the leading server, then start it", "the same to its successor"],
  needs: "links",
  defaultForMs: 75_000,
  run: (options) => withStage({ ...options, servers: 3 }, play),
};

async function play(stage: Stage): Promise<DrillReport> {
  const { site, progress } = stage;
  const lost: LeaderLoss[] = [];
  for (let turn = 0; turn < losses; turn++) {
    await stage.until(0.1 + turn * 0.45);
    const asked = site.nodes[turn]?.node ?? "";
    const leader = await ledgerLeader(stage, asked);
    progress(`${leader} leads`);
    lost.push(await loseLeader(stage, leader));
  }
  await stage.until(1);
  return await concludeLosses(stage, "leader-kill", lost, {
    replacedWithinMs: leaderReplacedWithinMs,
    promises: [
      atMost(
        "K1",
        "from the loss of the leading server until writes of desired state are accepted through every other",
        Math.max(...lost.map(({ writesBackMs }) => writesBackMs ?? notMeasured)),
        leaderReplacedWithinMs,
        "ms",
      ),
    ],
  });
}
