/**
 * What time it is, for judging certificates on machines whose clock may never have been set.
 *
 * 1. The time never lies before the floor: the last time known, kept on disk and counted on with the
 *    monotonic clock. It grows only by time that passed while running, or by what peers say, so that
 *    a host clock that jumped ahead cannot poison it.
 * 2. Peers (authenticated ones) say their time with every ping; the cell's time is the host's moved
 *    by the median of the differences, the host's own clock (difference 0) among them unless it lies
 *    before the floor and is thus known to be wrong.
 * 3. A difference of less than a minute is none: clocks are not disciplined here.
 */
import { join } from "node:path";
import type { Clock, Timer } from "../../lib/clock.ts";
import { every } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { readRecord, writeRecord } from "../../runtime/files/index.ts";

export interface CellTime {
  /** Milliseconds since 1970. */
  nowMs(): number;
  /** `peer` says that it is `theirNowMs`. Only from authenticated peers. */
  observe(peer: string, theirNowMs: number): void;
  /** Nothing before this is now: the start of a leaf that the cell just issued, the hub's answer. */
  raiseTo(ms: number): void;
  /** Writes the floor a last time. */
  close(): void;
}

const peersMax = 64;
const toleranceMs = 60_000;
const saveEveryMs = 600_000;

/** Reads and keeps the floor in `FOLDER/time.json`; a damaged file counts as none. */
export function openCellTime(
  deps: { clock: Clock; log: Log },
  options: { folder: string; saveEveryMs?: number },
): CellTime {
  const { clock, log } = deps;
  const path = join(options.folder, "time.json");
  const differenceByPeer = new Map<string, number>();
  let floor = { ms: readFloor(path, log), atMs: clock.monotonicMs() };

  const floorMs = () => floor.ms + (clock.monotonicMs() - floor.atMs);
  const raiseTo = (ms: number) => {
    if (ms > floorMs()) floor = { ms, atMs: clock.monotonicMs() };
  };
  const differenceMs = () => {
    const ownVote = clock.wallMs() < floorMs() - toleranceMs ? [] : [0];
    const votes = [...ownVote, ...differenceByPeer.values()].sort((a, b) => a - b);
    const median = votes[(votes.length - 1) >> 1] ?? 0;
    return Math.abs(median) < toleranceMs ? 0 : median;
  };
  const nowMs = () => Math.max(clock.wallMs() + differenceMs(), floorMs());
  const save = () => {
    if (differenceByPeer.size > 0) raiseTo(nowMs());
    if (floorMs() > 0) writeRecord(path, { knownMs: Math.floor(floorMs()) });
  };
  // A host without any floor yet starts one from its own clock: it has nothing better.
  if (floor.ms === 0) raiseTo(clock.wallMs());
  const timer: Timer = every(clock, options.saveEveryMs ?? saveEveryMs, save, (error) =>
    log.warn("the last known time cannot be kept", { error }),
  );

  return {
    nowMs,
    observe(peer, theirNowMs) {
      if (!Number.isFinite(theirNowMs)) return;
      differenceByPeer.delete(peer);
      differenceByPeer.set(peer, theirNowMs - clock.wallMs());
      const [oldest] = differenceByPeer.keys();
      if (differenceByPeer.size > peersMax && oldest !== undefined) differenceByPeer.delete(oldest);
    },
    raiseTo,
    close() {
      timer.cancel();
      save();
    },
  };
}

function readFloor(path: string, log: Log): number {
  try {
    const record = readRecord(path) as { knownMs?: unknown } | undefined;
    return typeof record?.knownMs === "number" ? record.knownMs : 0;
  } catch (error) {
    if (!(error instanceof SkerryError)) throw error;
    // Never refuse to start because of the clock.
    log.warn("the last known time cannot be read", { error });
    return 0;
  }
}
