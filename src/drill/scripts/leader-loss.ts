/** Who leads, a pod beside it, and what its loss does to writes of desired state. */
import type { CellStatus } from "../../api/index.ts";
import { waitUntil } from "../site/whole.ts";
import { loseNode, type LostMachine } from "./losses.ts";
import { writeThrough } from "./server-loss.ts";
import type { Stage } from "./stage.ts";

const patienceMs = 30_000;
const retryMs = 50;

/** The member that leads the ledger, as `from` sees it. Throws `drill-step-failed` when nobody does. */
export function ledgerLeader(
  { site, clock, signal, slowness }: Stage,
  from: string,
): Promise<string> {
  return waitUntil<string>(
    "a leader of the ledger",
    async () => {
      const { ledger } = await site.skerry<CellStatus>(from, ["status"]);
      const leader = ledger?.members.find(({ state }) => state === "leader");
      return leader ? { found: leader.name } : { missing: JSON.stringify(ledger ?? "no ledger") };
    },
    { clock, signal, timeoutMs: patienceMs * slowness },
  );
}

export type LeaderLoss = LostMachine & {
  /** From the loss until a write was accepted through every survivor; absent when it was not. */
  readonly writesBackMs?: number;
};

/** Cuts the leader's machine off and kills it, until its pods are replaced and it is back. */
export async function loseLeader(stage: Stage, leader: string): Promise<LeaderLoss> {
  const { site } = stage;
  const survivors = site.nodes.map(({ node }) => node).filter((node) => node !== leader);
  site.lookFrom(survivors[0] ?? "");
  let writesBackMs: number | undefined;
  const outcome = await loseNode(stage, leader, "cut and kill", async (fromMs) => {
    const took = await Promise.all(survivors.map((node) => firstWrite(stage, node, fromMs)));
    const all = took.flatMap((ms) => ms ?? []);
    if (all.length === took.length) writesBackMs = Math.max(...all);
  });
  return { ...outcome, ...(writesBackMs === undefined ? {} : { writesBackMs }) };
}

/** Since the fault. Each try has a connection of its own, as every kubectl makes one. */
export async function firstWrite(
  stage: Stage,
  node: string,
  fromMs: number,
): Promise<number | undefined> {
  const { clock, signal, slowness } = stage;
  const giveUpMs = fromMs + patienceMs * slowness;
  for (let turn = 0; clock.wallMs() < giveUpMs; turn++) {
    const accepted = await writeThrough(stage, node, turn).then(
      () => true,
      () => false,
    );
    if (accepted) return Math.round(clock.wallMs() - fromMs);
    await clock.sleep(retryMs, { signal });
  }
  return undefined;
}
