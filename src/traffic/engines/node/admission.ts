/**
 * When a request is taken up. After a stall of this thread, or while there is more work than it can
 * do, most of what lies before it was asked by clients that have given up since. Worked off in order
 * it leaves no time for the living, who give up in turn. So what has come is read first: a request
 * waits for one whole turn of the event loop, in which the end of its connection, which lies behind
 * it in the socket, is seen. A few are taken up per turn, the newest first once the queue does not
 * empty, and what has waited too long is told so (adaptive LIFO and controlled delay: Maurer, "Fail
 * at Scale", ACM Queue 13(8), 2015).
 */
import type { Clock } from "../../../lib/clock.ts";

/** `gone`: nobody waits for it. `overloaded`: it waited too long in a queue that does not empty. */
export type Admitted = "begin" | "gone" | "overloaded";

export interface Admission {
  /** Asks `isGone` when its turn comes; never rejects. The caller bounds how many wait. */
  admit(isGone: () => boolean): Promise<Admitted>;
  readonly waiting: number;
}

export type AdmissionDependencies = {
  readonly clock: Clock;
  /** Runs `callback` after what has come on sockets in this turn of the event loop was read. */
  readonly afterRead: (callback: () => void) => void;
};

export type AdmissionOptions = {
  /** Taken up per turn. Between two turns answers and ends of connections are read. Default 16. */
  readonly perTurnMax?: number;
  /** A queue that was not empty for this long serves the newest first. Default 100 ms. */
  readonly newestFirstAfterMs?: number;
  /** One that was not empty for this long turns away what has waited longer than `waitMaxMs`. Default 1 s. */
  readonly shedAfterMs?: number;
  /** Default 500 ms. */
  readonly waitMaxMs?: number;
};

type Waiting = {
  readonly isGone: () => boolean;
  readonly resolve: (admitted: Admitted) => void;
  readonly sinceMs: number;
};

/**
 * A turn counts as no longer than this: a machine that stood still, or gave this thread no time, has
 * not shown that there is more to do than can be done.
 */
const turnMsMax = 100;

export function createAdmission(
  { clock, afterRead }: AdmissionDependencies,
  options: AdmissionOptions = {},
): Admission {
  const {
    perTurnMax = 16,
    newestFirstAfterMs = 100,
    shedAfterMs = 1_000,
    waitMaxMs = 500,
  } = options;
  /** Came in this turn; their ends may be read in the next one. */
  let fresh: Waiting[] = [];
  let reading: Waiting[] = [];
  /** Oldest first. */
  let due: Waiting[] = [];
  let turning = false;
  /** Time as this thread lived it. */
  let awakeMs = 0;
  let turnedMs = 0;
  let emptyMs = 0;

  const begin = () => {
    turning = true;
    turnedMs = clock.monotonicMs();
    emptyMs = awakeMs;
    afterRead(turn);
  };

  const turn = () => {
    const nowMs = clock.monotonicMs();
    awakeMs += Math.min(turnMsMax, nowMs - turnedMs);
    turnedMs = nowMs;
    if (due.length === 0) due = reading;
    else due.push(...reading);
    [reading, fresh] = [fresh, []];
    const standingMs = awakeMs - emptyMs;
    if (standingMs >= shedAfterMs) shed();
    if (standingMs >= newestFirstAfterMs) takeUp(() => due.pop());
    else {
      let head = 0;
      takeUp(() => due[head++]);
      due = due.slice(head);
    }
    if (due.length === 0) emptyMs = awakeMs;
    if (due.length + reading.length > 0) afterRead(turn);
    else turning = false;
  };

  const shed = () => {
    const isLate = ({ sinceMs }: Waiting) => awakeMs - sinceMs > waitMaxMs;
    const inTime = due.findIndex((each) => !isLate(each));
    for (const { isGone, resolve } of due.splice(0, inTime < 0 ? due.length : inTime))
      resolve(isGone() ? "gone" : "overloaded");
  };

  /** Who is gone costs nothing and so does not count. */
  const takeUp = (take: () => Waiting | undefined) => {
    for (let left = perTurnMax; left > 0;) {
      const next = take();
      if (!next) return;
      const isGone = next.isGone();
      next.resolve(isGone ? "gone" : "begin");
      if (!isGone) left--;
    }
  };

  return {
    admit(isGone) {
      if (!turning) begin();
      return new Promise((resolve) => fresh.push({ isGone, resolve, sinceMs: awakeMs }));
    },
    get waiting() {
      return due.length + reading.length + fresh.length;
    },
  };
}
