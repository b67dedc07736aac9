/**
 * A node as processes: its keeper, started when none lives and adopted when one does, and under it
 * the agent. Used by the command line; everything ends by pid and start time.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { silentLog } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import {
  connectKeeper,
  ensureKeeper,
  keeperPid,
  type AgentState,
  type Keeper,
} from "../keeper/index.ts";
import { entryUrl } from "../runtime/child/index.ts";
import { ensureDirectory, readFileIfExists } from "../runtime/files/index.ts";
import { mallocEnvironment } from "../runtime/heap/index.ts";
import { addressesHere, isAddressHere, whyNotListen } from "../runtime/listen/index.ts";
import { readNodeRecord, resolveNodeRecord, type AgentConfig, type NodeRecord } from "./config.ts";
import { hopelessExitCode } from "./exit.ts";
import { agentLogPath } from "./data-folder.ts";
import type { AgentInfo } from "./local.ts";
import { infoOf, keeperOfThisVersion, replaceUnspoken } from "./replace.ts";
import { agentNodeArgs } from "./node-flags.ts";
import { writeStartConfig } from "./start-config.ts";

type Deps = { readonly clock: Clock; readonly random: Random };

const readyTimeoutMs = 60_000;
const agentGraceMs = 15_000;
const pollMs = 50;
const lastWordsBytes = 64 * 1024;
/** An agent that died this often before it was ready has told why in its log. */
const restartsMax = 2;

/** Resolves when the agent is ready. Throws `invalid-config`, `cannot-listen`, `keeper-start`, or `agent-start-failed` with what it said. */
export async function startNode(
  config: AgentConfig,
  deps: Deps & { progress: (text: string) => void },
): Promise<AgentInfo> {
  const { dataDir } = config;
  // Told here, where a person reads it, not in the agent's log.
  const known = readNodeRecord(dataDir);
  const record = resolveNodeRecord(config, known);
  ensureDirectory(join(dataDir, "logs"));
  const keeper = await keeperOfThisVersion(dataDir, { ...deps, agentGraceMs });
  let startedHere = false;
  try {
    const { agent } = await keeper.status();
    if (agent.state === "running") {
      const kept = readNodeRecord(dataDir);
      if (kept && !isDeepStrictEqual(kept, record))
        deps.progress(
          `${record.node} runs already; what was given now takes effect after: skerry down --data ${dataDir}, and skerry up with the same flags`,
        );
    } else {
      await refuseForeignAddress(record, known === undefined);
      startedHere = true;
      writeStartConfig(config);
      await keeper.startAgent({
        entry: fileURLToPath(entryUrl(import.meta.url, "./agent.entry")),
        args: [dataDir],
        // Node keeps what it compiled: an agent that was killed is back in half the time.
        env: { NODE_COMPILE_CACHE: join(dataDir, "cache"), ...mallocEnvironment },
        nodeArgs: agentNodeArgs,
        logPath: agentLogPath(dataDir),
        node: process.execPath,
        hopelessExitCode,
      });
    }
    return await waitReady(
      dataDir,
      record.node,
      deps.clock,
      async () => (await keeper.status()).agent,
    );
  } catch (error) {
    // A node that never got ready is not left behind restarting; one that ran before is not ours to stop.
    if (startedHere)
      await giveUp(keeper).catch(() =>
        deps.progress(
          `the keeper of ${dataDir} did not answer; stop it with: skerry down --data ${dataDir}`,
        ),
      );
    throw error;
  } finally {
    keeper.close();
  }
}

/** Told before anything is written: a machine whose address changed goes on by itself with the right one. */
async function refuseForeignAddress({ node, host }: NodeRecord, isFirst: boolean): Promise<void> {
  const why = await whyNotListen({ host, port: 0, protocol: "tcp", what: "host" });
  if (why === undefined || isAddressHere(host)) return;
  const has = addressesHere();
  throw new SkerryError({
    code: "cannot-listen",
    message: `host: ${host} is no address of this machine, which has ${has.length === 0 ? "none" : has.join(", ")}`,
    hint: isFirst
      ? "give the machine that address first, or name one that it has: --host ADDRESS"
      : `did the machine get another one? skerry up --host ${has[0] ?? "ADDRESS"}: the cell is told that ${node} moved`,
    retryable: true,
  });
}

async function giveUp(keeper: Keeper): Promise<void> {
  await keeper.stopAgent({ graceMs: agentGraceMs });
  const { containers } = await keeper.status();
  if (containers.length === 0) await keeper.shutdown({ agentGraceMs, stopContainers: false });
}

async function waitReady(
  dataDir: string,
  node: string,
  clock: Clock,
  agent: () => Promise<AgentState>,
): Promise<AgentInfo> {
  const giveUpMs = clock.monotonicMs() + readyTimeoutMs;
  // The keeper counts for as long as it lives; only what this start caused is of interest.
  let restartsBefore: number | undefined;
  for (;;) {
    const state = await agent();
    const info = infoOf(dataDir, state);
    if (info) return info;
    const restarts = "restarts" in state ? state.restarts : 0;
    restartsBefore = Math.min(restartsBefore ?? restarts, restarts);
    const isDying = state.state === "none" || restarts - restartsBefore > restartsMax;
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

/** What Node writes around an uncaught error: its trace, its properties and its own version. */
const isAround = (line: string) => /^(?:\s|Node\.js v|[{}])/.test(line);

/** The last line that is no JSON is what the agent said when it gave up. */
function lastWords(dataDir: string): string {
  const lines = (readFileIfExists(agentLogPath(dataDir)) ?? Buffer.alloc(0))
    .subarray(-lastWordsBytes)
    .toString()
    .trim()
    .split("\n");
  return (
    lines.findLast((line) => line !== "" && !isAround(line)) ?? lines.at(-1) ?? "it said nothing"
  );
}

/**
 * Stops the agent; with `pods: "stop"` its pods and the keeper as well. False when nothing ran.
 * Nothing is lost either way.
 */
export async function stopNode(
  dataDir: string,
  deps: Deps & { pods: "keep" | "stop"; progress?: (text: string) => void },
): Promise<boolean> {
  if (keeperPid(dataDir) === undefined) return false;
  const keeperDeps = { ...deps, log: silentLog };
  const keeper = await connectKeeper(dataDir, keeperDeps).catch((error: unknown) =>
    replaceUnspoken(error, dataDir, { progress: () => undefined, ...deps }, () =>
      ensureKeeper(dataDir, keeperDeps),
    ),
  );
  try {
    if (deps.pods === "keep") await keeper.stopAgent({ graceMs: agentGraceMs });
    else await keeper.shutdown({ agentGraceMs, stopContainers: true });
  } finally {
    keeper.close();
  }
  return true;
}

/** Another command may be replacing the keeper, or an agent reviving it. */
const goneForGoodMs = 5_000;

/**
 * Says what happens to the agent until the signal aborts (`left`) or no keeper lives any more:
 * `stopped` on request, `lost` when agent and keeper ended and nobody asked for it.
 */
export async function followNode(
  dataDir: string,
  deps: Deps & { signal: AbortSignal; onLine: (line: string) => void },
): Promise<"left" | "stopped" | "lost"> {
  const { clock, signal } = deps;
  const options = { connectTimeoutMs: 1_000 };
  const keeper = await connectKeeper(dataDir, { ...deps, log: silentLog }, options);
  let stopped = false;
  const off = keeper.on("agent", (state) => {
    stopped = state.state === "stopping" || state.state === "none";
    if (state.state === "waiting")
      deps.onLine(
        `the agent ended; the keeper starts it again in ${Math.round(state.restartInMs)} ms (log: ${agentLogPath(dataDir)})`,
      );
    if (state.state === "running") deps.onLine(`the agent runs as pid ${state.pid}`);
  });
  let goneMs: number | undefined;
  try {
    while (!signal.aborted) {
      if (keeperPid(dataDir) !== undefined) {
        goneMs = undefined;
        // Keeps a connection to whichever keeper lives, for its events.
        await keeper.status().catch(() => undefined);
      } else {
        goneMs ??= clock.monotonicMs();
        if (clock.monotonicMs() - goneMs > goneForGoodMs) return stopped ? "stopped" : "lost";
      }
      await clock.sleep(1000, { signal }).catch(() => undefined);
    }
    return "left";
  } finally {
    off();
    keeper.close();
  }
}
