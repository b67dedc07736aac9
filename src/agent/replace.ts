/**
 * One version in place of another while pods run: the agent of the other version is stopped, its
 * keeper ended, and a keeper of this version adopts the pods. Neither touches a pod.
 */
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { silentLog } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { ensureKeeper, releaseKeeper, type AgentState, type Keeper } from "../keeper/index.ts";
import { findInfo } from "../runtime/local/index.ts";
import { isAlive, version } from "../runtime/process/index.ts";
import type { AgentInfo } from "./local.ts";

export type ReplaceDeps = {
  readonly clock: Clock;
  readonly random: Random;
  readonly progress: (text: string) => void;
};

/** The info that this very agent wrote: after a reboot another may have got its pid. */
export function infoOf(dataDir: string, state: AgentState): AgentInfo | undefined {
  const info = findInfo<AgentInfo>(dataDir, "node");
  return state.state === "running" && info?.agentPid === state.pid && isAlive(info.process)
    ? info
    : undefined;
}

/**
 * The keeper of this data folder, started when none lives, and of this version: one of another is
 * replaced, and an agent of another version stopped. Throws `keeper-start`, `keeper-lost`,
 * `keeper-alive`.
 */
export async function keeperOfThisVersion(
  dataDir: string,
  deps: ReplaceDeps & { agentGraceMs: number },
): Promise<Keeper> {
  const own = version();
  const open = () => ensureKeeper(dataDir, { ...deps, log: silentLog });
  let keeper = await open().catch((error: unknown) => replaceUnspoken(error, dataDir, deps, open));
  try {
    const status = await keeper.status();
    const agent = infoOf(dataDir, status.agent);
    if (agent && agent.version !== own) {
      deps.progress(
        `${agent.node} runs ${agent.version ?? "an older version"}: its agent is stopped and started as ${own}, its pods go on`,
      );
      await keeper.stopAgent({ graceMs: deps.agentGraceMs });
    }
    if (status.keeper.version === own) return keeper;
    keeper.close();
    await releaseKeeper(dataDir, deps);
    keeper = await open();
    return keeper;
  } catch (error) {
    keeper.close();
    throw error;
  }
}

/**
 * A keeper that speaks another protocol cannot be asked for anything: it is ended with its agent, and
 * the pods are safe with the one that `open` starts. Rethrows every other error.
 */
export async function replaceUnspoken(
  error: unknown,
  dataDir: string,
  deps: { clock: Clock; progress: (text: string) => void },
  open: () => Promise<Keeper>,
): Promise<Keeper> {
  if (!(error instanceof SkerryError) || error.code !== "keeper-protocol") throw error;
  const agent = findInfo<AgentInfo>(dataDir, "node");
  deps.progress(`${error.message}: the keeper of ${dataDir} is replaced, its pods go on`);
  await releaseKeeper(
    dataDir,
    deps,
    agent && isAlive(agent.process) ? { agent: agent.process } : {},
  );
  return open();
}
