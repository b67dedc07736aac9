/**
 * Gives back what a heap grew by for work that is over. V8 lets a young generation shrink once little
 * is allocated, and keeps its pages for the next time; what only the start needed stays as well. Both
 * go with a collection that frees all it can (V8's `CollectAllAvailableGarbage`), which stops its
 * isolate for as long as some full collections take: so it comes when there is nothing to do, and not
 * at all on a machine where one takes long.
 */
import { threadId } from "node:worker_threads";
import { every, type Clock, type Timer } from "../../lib/clock.ts";
import { systemClock } from "../clock/index.ts";

export type HeapDeps = {
  readonly clock: Clock;
  /** Of the whole process so far, in milliseconds. */
  readonly processorMs: () => number;
  /** One full collection. */
  readonly collect: () => void;
  /** Several, and memory that is free goes back. */
  readonly collectAll: () => void;
};

/** Of a core, over one period: above it there is work. An idle node needs 0.02. */
const busyShare = 0.15;
const periodMs = 10_000;
/** Periods without work, after which it is over. */
const calmPeriods = 3;
/**
 * Work that comes and goes is stopped no oftener than at the last of these. At first sooner, each twice as
 * long as the one before: what comes after a start (pods, connections, peers) comes in parts.
 */
const apartMs = { first: 60_000, last: 600_000 };
/**
 * What an idle node allocates becomes garbage of the old generation, of which V8 lets some 6 MB gather on
 * a main thread. One collection, as Go's runtime has it every two minutes, and none that frees all.
 */
const idleMs = 180_000;
/** A node that is silent for longer than a second is taken for lost; freeing all takes up to seven times this. */
const collectMsMax = 120;

/**
 * Of this isolate, from now on; the start of its process counts as work.
 * @param turns periods to wait beyond those without work, so that isolates of a process do not stop together
 */
export function settleHeap(
  { clock, processorMs, collect, collectAll }: HeapDeps,
  { turns = 0 }: { turns?: number } = {},
): Timer {
  const now = () => ({ atMs: clock.monotonicMs(), processorMs: processorMs() });
  let seen = now();
  let calm = 0;
  let hasGrown = true;
  let isSlow = false;
  let collectedMs: number = seen.atMs;
  let notBeforeMs: number = seen.atMs;
  let nextApartMs = apartMs.first;
  const look = () => {
    const before = seen;
    seen = now();
    const share = (seen.processorMs - before.processorMs) / (seen.atMs - before.atMs);
    calm = share < busyShare ? calm + 1 : 0;
    hasGrown ||= calm === 0;
    if (calm < calmPeriods + turns) return;
    const isOver = hasGrown && seen.atMs >= notBeforeMs;
    const isIdle = !isSlow && seen.atMs - collectedMs >= idleMs;
    if (!isOver && !isIdle) return;
    collect();
    collectedMs = seen.atMs;
    isSlow = clock.monotonicMs() - seen.atMs > collectMsMax;
    if (!isOver) return;
    hasGrown = false;
    notBeforeMs = seen.atMs + nextApartMs;
    nextApartMs = Math.min(2 * nextApartMs, apartMs.last);
    if (!isSlow) collectAll();
  };
  return every(clock, periodMs, look, (error) => {
    throw error;
  });
}

/** For the isolate that calls it, where Node was started with `--expose-gc`. */
export function settleOwnHeap(): void {
  const { gc } = globalThis;
  if (!gc) return;
  const processorMs = () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  };
  const collectAll = () => gc({ type: "major", execution: "sync", flavor: "last-resort" });
  settleHeap(
    { clock: systemClock, processorMs, collect: () => gc(), collectAll },
    { turns: threadId % 4 },
  );
}
