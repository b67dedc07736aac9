/**
 * Restarting a member without anybody noticing: one at a time in the whole cell (an election of the
 * ledger itself), only while every other member is well, and never while it leads.
 */
import type { Clock } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";
import type { Log } from "../../../lib/log.ts";
import { successorOf } from "../successor.ts";
import type { AnsweringMember, EtcdCluster, EtcdLedger, EtcdMemberStatus } from "../types.ts";
import type { EtcdSupervisor } from "./supervisor.ts";

const turnTtlMs = 30_000;
const pollMs = 200;

/** Why no member may be restarted now, in words; undefined when one may. Pure. */
export function whyNotRestart(
  statuses: readonly EtcdMemberStatus[],
  name: string,
): string | undefined {
  const answering = statuses.filter((one): one is AnsweringMember => one.state === "answers");
  const silent = statuses.find((one) => one.state !== "answers" && one.name !== name);
  if (silent) return `${silent.name} does not answer`;
  const troubled = answering.find(({ errors }) => errors.length > 0);
  if (troubled) return `${troubled.name}: ${troubled.errors.join(", ")}`;
  const leaderless = answering.find((one) => one.leaderId === undefined);
  if (leaderless) return `${leaderless.name} knows of no leader`;
  return undefined;
}

/**
 * Restarts the local member when its turn comes. Throws `restart-unsafe` (retryable) when another
 * member is not well, or it did not come back in `timeoutMs` (default 60 s).
 */
export async function restartSafely(
  deps: { clock: Clock; log: Log },
  options: {
    ledger: Pick<EtcdLedger, "campaign" | "cluster">;
    supervisor: Pick<EtcdSupervisor, "restart">;
    name: string;
    timeoutMs?: number;
    signal?: AbortSignal;
  },
): Promise<void> {
  const { ledger, supervisor, name, signal } = options;
  const { cluster } = ledger;
  const turn = await ledger.campaign("ledger-restart", { id: name, ttlMs: turnTtlMs, signal });
  try {
    const statuses = await cluster.status();
    const reason = whyNotRestart(statuses, name);
    if (reason !== undefined) throw unsafe(`the member ${name} is not restarted now: ${reason}`);
    const index = await giveUpLeadership(cluster, statuses, name);
    deps.log.info("the ledger's member is restarted", { name });
    await supervisor.restart();
    await caughtUp(deps, cluster, { name, index, timeoutMs: options.timeoutMs ?? 60_000, signal });
  } finally {
    await turn.resign();
  }
}

/** The index that the member has to reach again. */
async function giveUpLeadership(
  cluster: EtcdCluster,
  statuses: readonly EtcdMemberStatus[],
  name: string,
): Promise<number> {
  const answering = statuses.filter((one): one is AnsweringMember => one.state === "answers");
  const own = answering.find((one) => one.name === name);
  const successor = own && own.leaderId === own.id ? successorOf(statuses, own.id) : undefined;
  if (successor) await cluster.moveLeader(successor.id);
  return Math.max(0, ...answering.map(({ raftIndex }) => raftIndex));
}

async function caughtUp(
  { clock }: { clock: Clock },
  cluster: EtcdCluster,
  wanted: { name: string; index: number; timeoutMs: number; signal: AbortSignal | undefined },
): Promise<void> {
  const untilMs = clock.monotonicMs() + wanted.timeoutMs;
  while (clock.monotonicMs() < untilMs) {
    const own = (await cluster.status()).find(({ name }) => name === wanted.name);
    if (own?.state === "answers" && own.leaderId && own.raftAppliedIndex >= wanted.index) return;
    await clock.sleep(pollMs, { signal: wanted.signal });
  }
  throw unsafe(`the member ${wanted.name} did not come back within ${wanted.timeoutMs} ms`);
}

const unsafe = (message: string) =>
  new SkerryError({
    code: "restart-unsafe",
    message,
    hint: "it is tried again when all members are well: look at skerry server list",
    retryable: true,
  });
