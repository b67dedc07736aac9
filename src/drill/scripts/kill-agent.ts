/** An agent dies alone: its keeper, its pods and its machine live on. */
import { SkerryError } from "../../lib/errors.ts";
import type { Stage } from "./stage.ts";
import type { Outage } from "./verdict.ts";

const restartPatienceMs = 20_000;

/**
 * SIGKILL is a death, SIGTERM a restart. Resolves once another agent is ready there, and counts the
 * outage. Throws `drill-step-failed`.
 */
export async function killAgent(
  stage: Stage,
  node: string,
  how: "SIGKILL" | "SIGTERM",
): Promise<Outage> {
  const { clock, progress, signal, site } = stage;
  const what = how === "SIGKILL" ? "kill" : "restart";
  progress(`${what} agent ${node}`);
  const { agentPid } = site.nodeInfo(node);
  const outage = {
    node,
    fault: `${what} agent ${node}`,
    atMs: stage.since(),
    fromMs: clock.wallMs(),
  };
  process.kill(agentPid, how);
  const giveUpMs = outage.fromMs + restartPatienceMs * stage.slowness;
  while (site.nodeInfo(node).agentPid === agentPid) {
    if (clock.wallMs() > giveUpMs) {
      throw new SkerryError({
        code: "drill-step-failed",
        message: `the agent of ${node} was not restarted within ${restartPatienceMs} ms`,
      });
    }
    await clock.sleep(20, { signal });
  }
  stage.outages.push(outage);
  return outage;
}
