/**
 * A node as processes: its keeper, started when none lives and adopted when one does, and under it
 * the agent. Used by the command line; everything ends by pid and start time.
 */
import { join } from "node:path";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { silentLog } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { connectKeeper, ensureKeeper, keeperPid, type AgentState } from "../keeper/index.ts";
import { entryUrl } from "../runtime/child/index.ts";
import { ensureDirectory } from "../runtime/files/index.ts";
import { findInfo } from "../runtime/local/index.ts";
import { readNodeRecord, resolveNodeRecord, type AgentConfig } from "./config.ts";
import type { AgentInfo } from "./local.ts";

type Deps = { readonly clock: Clock; readonly random: Random };

const readyTimeoutMs = 60_000;
const agentGraceMs = 15_000;
const pollMs = 50;
/** An agent that died this often before it was ready has told why in its log. */
const restartsMax = 2;

export const agentLogPath = (dataDir: string) => join(dataDir, "logs", "agent.log");

/** Resolves when the agent is ready. Throws `invalid-config`, `keeper-start`, or `agent-start-failed` with what it said. */
export async function startNode(
  config: AgentConfig,
  deps: Deps & { progress: (text: string) => void },
): Promise<AgentInfo> {
  const { dataDir } = config;
  // Told here, where a person reads it, not in the agent's log.
  const record = resolveNodeRecord(config, readNodeRecord(dataDir));
  ensureDirectory(join(dataDir, "logs"));
  const keeper = await ensureKeeper(dataDir, { ...deps, log: silentLog });
  try {
    const { agent } = await keeper.status();
    const info = findInfo<AgentInfo>(dataDir, "node");
    if (agent.state === "running" && info?.agentPid === agent.pid) return info;
    if (agent.state !== "running") {
      await keeper.startAgent({
        entry: fileURLToPath(entryUrl(import.meta.url, "./agent.entry")),
        args: [JSON.stringify(config)],
        // Node keeps what it compiled: an agent that was killed is back in half the time.
        env: { NODE_COMPILE_CACHE: join(dataDir, "cache") },
        logPath: agentLogPath(dataDir),
      });
    }
    return await waitReady(
      dataDir,
      record.node,
      deps.clock,
      async () => (await keeper.status()).agent,
    );
  } catch (error) {
    // A node that never got ready is not left behind restarting.
    await keeper.stopAgent({ graceMs: agentGraceMs });
    const { containers } = await keeper.status();
    if (containers.length === 0) await keeper.shutdown({ agentGraceMs, stopContainers: false });
    throw error;
  } finally {
    keeper.close();
  }
}

async function waitReady(
  dataDir: string,
  node: string,
  clock: Clock,
  agent: () => Promise<AgentState>,
): Promise<AgentInfo> {
  const giveUpMs = clock.monotonicMs() + readyTimeoutMs;
  for (;;) {
    const state = await agent();
    const info = findInfo<AgentInfo>(dataDir, "node");
    if (state.state === "running" && info?.agentPid === state.pid) return info;
    const isDying = "restarts" in state && state.restarts > restartsMax;
    if (isDying || clock.monotonicMs() > giveUpMs) {
      throw new SkerryError({
        code: "agent-start-failed",
        message: `the agent of ${node} did not get ready: ${lastWords(dataDir)}`,
        hint: `its log: ${agentLogPath(dataDir)}`,
      });
    }
    await clock.sleep(pollMs);
  }
}

/** The last line that is no JSON is what the agent said when it gave up. */
function lastWords(dataDir: string): string {
  const lines = readFileSync(agentLogPath(dataDir), "utf8").trim().split("\n");
  return (
    lines.findLast((line) => line !== "" && !line.startsWith("{")) ??
    lines.at(-1) ??
    "it said nothing"
  );
}

/**
 * Stops the agent; with `pods: "stop"` its pods and the keeper as well. False when nothing ran.
 * Nothing is lost either way.
 */
export async function stopNode(
  dataDir: string,
  deps: Deps & { pods: "keep" | "stop" },
): Promise<boolean> {
  if (keeperPid(dataDir) === undefined) return false;
  const keeper = await connectKeeper(dataDir, { ...deps, log: silentLog });
  try {
    if (deps.pods === "keep") await keeper.stopAgent({ graceMs: agentGraceMs });
    else await keeper.shutdown({ agentGraceMs, stopContainers: true });
  } finally {
    keeper.close();
  }
  return true;
}

/** Resolves when the signal aborts or the keeper has gone; says what happens to the agent meanwhile. */
export async function followNode(
  dataDir: string,
  deps: Deps & { signal: AbortSignal; onLine: (line: string) => void },
): Promise<void> {
  const keeper = await connectKeeper(dataDir, { ...deps, log: silentLog });
  const off = keeper.on("agent", (state) => {
    if (state.state === "waiting")
      deps.onLine(
        `the agent ended; the keeper starts it again in ${Math.round(state.restartInMs)} ms (log: ${agentLogPath(dataDir)})`,
      );
    if (state.state === "running") deps.onLine(`the agent runs as pid ${state.pid}`);
  });
  try {
    while (!deps.signal.aborted && keeperPid(dataDir) !== undefined) {
      await deps.clock.sleep(1000, { signal: deps.signal }).catch(() => undefined);
    }
  } finally {
    off();
    keeper.close();
  }
}
