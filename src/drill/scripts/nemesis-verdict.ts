/** What the histories of the nemesis' clients prove, or fail to. Pure. */
import { ascending, percentile } from "../../lib/percentile.ts";
import type { Histories } from "../checkers/history.ts";
import { checkLinearizable, type HistoryOperation } from "../checkers/linearizability.ts";
import { checkLocks } from "../checkers/locks.ts";
import { checkWatches } from "../checkers/watches.ts";
import { checkWrites, type Stored } from "../checkers/writes.ts";
import {
  atLeast,
  atMost,
  type DrillReport,
  type FaultRecord,
  type PromiseResult,
} from "../drill.ts";
import { notMeasured } from "./verdict.ts";

const writesBackWithinMs = 20_000;
/** Of each second under faults, at least this many writes and reads that were answered. */
const answeredPerSecond = 2;

export type NemesisSeen = {
  readonly seed: number;
  readonly forMs: number;
  readonly slowness: number;
  readonly histories: Histories;
  /** Every register through every node, after all was whole again. */
  readonly lastReads: readonly HistoryOperation[];
  /** What each node lists at the end; absent when it could not be read. */
  readonly stored: readonly { readonly node: string; readonly items?: readonly Stored[] }[];
  readonly faults: readonly FaultRecord[];
  readonly planned: number;
  /** From the end of the last fault until a write was accepted through every node. */
  readonly writesBackMs: number | undefined;
};

export function judgeNemesis(seen: NemesisSeen): { report: DrillReport; remarks: string[] } {
  const { histories } = seen;
  const registers = checkLinearizable([...histories.registers, ...seen.lastReads]);
  const locks = checkLocks({ holds: histories.holds, writes: histories.guarded });
  const watches = checkWatches(histories.watches, histories.acknowledged);
  const writes = seen.stored.flatMap(({ node, items }) =>
    items ? checkWrites(histories.created, items).map((finding) => ({ node, ...finding })) : [],
  );
  const unreadable = seen.stored.filter(({ items }) => items === undefined).length;
  const count = (...whats: readonly (typeof writes)[number]["what"][]) =>
    seen.stored.length === 0 || unreadable > 0
      ? notMeasured
      : writes.filter(({ what }) => whats.includes(what)).length;
  const lost = count("lost");
  const doubled = count("doubled");
  const { done, refused, unknown, failed } = histories.outcomes;
  const answered = done + refused;
  const promises: PromiseResult[] = [
    atMost(
      "N1",
      "registers whose history was not proved linearizable",
      seen.lastReads.length === 0 ? notMeasured : registers.length,
      0,
      "registers",
    ),
    atMost("N2", "acknowledged writes lost, through any node", lost, 0, "writes"),
    atMost("N3", "writes that ran twice", doubled, 0, "writes"),
    atMost(
      "N4",
      "refused writes that are stored, and stored values that nobody wrote",
      count("refused-but-stored", "changed", "never-written"),
      0,
      "writes",
    ),
    atMost(
      "N5",
      "locks held by two, tokens that did not grow",
      locks.filter(({ what }) => what !== "older-token-accepted").length,
      0,
      "cases",
    ),
    atMost(
      "N6",
      "writes accepted under an older fencing token",
      locks.filter(({ what }) => what === "older-token-accepted").length,
      0,
      "writes",
    ),
    atMost(
      "N7",
      "revisions that a watch missed, repeated, reordered or changed",
      watches.length,
      0,
      "revisions",
    ),
    atMost(
      "N8",
      "writes accepted through every node after the last fault",
      seen.writesBackMs ?? notMeasured,
      writesBackWithinMs * seen.slowness,
      "ms",
    ),
    atLeast("N9", "faults injected", seen.faults.length, Math.max(1, seen.planned), "faults"),
    atLeast(
      "N10",
      "operations answered, so that there is something to prove",
      answered,
      Math.floor(((seen.forMs / 1000) * answeredPerSecond) / seen.slowness),
      "operations",
    ),
    atLeast(
      "N11",
      "locks acquired, and writes accepted under them",
      Math.min(
        histories.holds.length,
        histories.guarded.filter(({ outcome }) => outcome === "done").length,
      ),
      3,
      "locks",
    ),
    atLeast(
      "N12",
      "revisions delivered to all watches together",
      histories.watches.reduce((sum, { deliveries }) => sum + deliveries.length, 0),
      Math.max(1, Math.floor(histories.acknowledged.length / 3)),
      "revisions",
    ),
  ];
  const took = ascending([...histories.tookMs]);
  const tenths = (share: number) => Math.round((percentile(took, share) ?? 0) * 10) / 10;
  const sent = answered + unknown + failed;
  return {
    report: {
      drill: "nemesis",
      ok: promises.every(({ ok }) => ok),
      seed: seen.seed,
      promises,
      load: {
        sent,
        failed: unknown + failed,
        p50Ms: tenths(0.5),
        p99Ms: tenths(0.99),
        availability: sent === 0 ? 0 : answered / sent,
      },
      data: {
        acknowledged: histories.created.filter(({ outcome }) => outcome === "done").length,
        lost,
        duplicated: doubled,
      },
      faults: seen.faults,
    },
    remarks: [
      `${done} done, ${refused} refused, ${unknown} unknown, ${failed} surely not done; ${histories.holds.length} locks held`,
      ...registers
        .slice(0, 3)
        .flatMap(({ key, verdict, operations }) => [
          `register ${key}: ${verdict}`,
          ...operations.map((operation) => `  ${JSON.stringify(operation)}`),
        ]),
      ...writes
        .slice(0, 10)
        .map(({ node, what, text }) => `${what}, read through ${node}: ${text}`),
      ...locks.slice(0, 10).map(({ lock, what, text }) => `${what}, lock ${lock}: ${text}`),
      ...watches.slice(0, 10).map(({ watcher, what, text }) => `${what} by ${watcher}: ${text}`),
    ],
  };
}
