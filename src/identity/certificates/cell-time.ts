/**
 * What time it is, for judging certificates on machines whose clock may never have been set.
 *
 * 1. The time never lies before the floor: the last time known, kept on disk and counted on with the
 *    clock that nobody sets. It grows only by time that passed, or by what peers say, so that a host
 *    clock that jumped ahead cannot poison it.
 * 2. Peers (authenticated ones) say their time with every ping. Their words and the host's own clock
 *    are votes; the lower median decides. The own clock has no vote while it lies before the floor and
 *    is thus known to be wrong. Votes are held against the steady clock: a step of the host's clock
 *    moves its own vote and no other.
 * 3. A difference of less than a minute is none: clocks are not disciplined here.
 * 4. A peer that holds its key and a leaf of this cell, but whose leaf is out of time *here*, is
 *    evidence about the clocks: its vote is the earliest time that its leaf and the floor allow. That
 *    is how a clock a year ahead is corrected by peers whose links it would refuse. A leaf that ended
 *    before the floor has no vote: an old key cannot turn the time back.
 */
import type { Clock, Timer } from "../../lib/clock.ts";
import { every } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { readKnownTime, toleranceMs, writeKnownTime, type Steady } from "./known-time.ts";

export interface CellTime {
  /** Milliseconds since 1970. */
  nowMs(): number;
  /** What peers are told: the host's own clock, while it is not known to be wrong. */
  tellMs(): number;
  /** `peer` says that it is `theirNowMs`. Only from authenticated peers. */
  observe(peer: string, theirNowMs: number): void;
  /** `peer` proved who it is with certificates that hold from .. until, and `nowMs()` is not among that. */
  dispute(peer: string, validity: { readonly fromMs: number; readonly untilMs: number }): void;
  /** Nothing before this is now: the start of a leaf that the cell just issued, the hub's answer. */
  raiseTo(ms: number): void;
  /** Writes the floor a last time. */
  close(): void;
}

const peersMax = 64;
const saveEveryMs = 600_000;
/** A news worth a write of its own comes seldom; this bounds what a mad clock can cost the disk. */
const saveAtMostEveryMs = 2000;

/** Reads and keeps the floor in `FOLDER/time.json`; a damaged file counts as none. */
export function openCellTime(
  deps: { clock: Clock; log: Log; steady?: Steady },
  options: { folder: string; saveEveryMs?: number },
): CellTime {
  const { clock, log } = deps;
  const steady = deps.steady ?? { bootId: "", nowMs: () => clock.monotonicMs() };
  const known = readKnownTime(options.folder, { steady, log });
  /** Of each peer: its time when the steady clock was zero. */
  const baseByPeer = new Map<string, number>();
  let floor = { ms: known.floorMs, atMs: steady.nowMs() };

  // `steadyMs` is read once for each question: the host's is a file of the kernel.
  const floorMs = (steadyMs = steady.nowMs()) => floor.ms + (steadyMs - floor.atMs);
  const isWrong = (steadyMs = steady.nowMs()) => clock.wallMs() < floorMs(steadyMs) - toleranceMs;
  const votes = (steadyMs: number) => [
    // What this boot once learnt from peers stands for them until they are heard again.
    ...(baseByPeer.size === 0 && known.agreedBaseMs !== undefined ? [known.agreedBaseMs] : []),
    ...baseByPeer.values(),
    ...(isWrong(steadyMs) ? [] : [clock.wallMs() - steadyMs]),
  ];
  const nowMs = (steadyMs = steady.nowMs()) => {
    const sorted = votes(steadyMs).sort((a, b) => a - b);
    const median = sorted[(sorted.length - 1) >> 1];
    const agreedMs = median === undefined ? floorMs(steadyMs) : median + steadyMs;
    const wallMs = clock.wallMs();
    const isOwn = !isWrong(steadyMs) && Math.abs(agreedMs - wallMs) < toleranceMs;
    return Math.max(isOwn ? wallMs : agreedMs, floorMs(steadyMs));
  };
  const raiseTo = (ms: number) => {
    if (ms > floorMs()) floor = { ms, atMs: steady.nowMs() };
  };

  let saved = { shiftMs: 0, atMs: Number.NEGATIVE_INFINITY, isAgreed: false };
  const shiftMs = () => nowMs() - clock.wallMs();
  const isAgreed = () => baseByPeer.size > 0 || known.agreedBaseMs !== undefined;
  const save = () => {
    if (baseByPeer.size > 0) raiseTo(nowMs());
    saved = { shiftMs: shiftMs(), atMs: steady.nowMs(), isAgreed: isAgreed() };
    if (floorMs() > 0)
      writeKnownTime(options.folder, {
        floorMs: floorMs(),
        steady,
        ...(isAgreed() ? { agreedMs: nowMs() } : {}),
      });
  };
  const onFailure = (error: unknown) => log.warn("the last known time cannot be kept", { error });
  /** The command line and the next start must not wait ten minutes to learn that the clock is wrong. */
  const saveNews = () => {
    const isNews =
      Math.abs(shiftMs() - saved.shiftMs) >= toleranceMs || isAgreed() !== saved.isAgreed;
    if (!isNews || steady.nowMs() - saved.atMs < saveAtMostEveryMs) return;
    try {
      save();
    } catch (error) {
      onFailure(error);
    }
  };
  // A host without any floor yet starts one from its own clock: it has nothing better.
  if (floor.ms === 0) raiseTo(clock.wallMs());
  const timer: Timer = every(clock, options.saveEveryMs ?? saveEveryMs, save, onFailure);

  const vote = (peer: string, theirNowMs: number) => {
    baseByPeer.delete(peer);
    baseByPeer.set(peer, theirNowMs - steady.nowMs());
    const [oldest] = baseByPeer.keys();
    if (baseByPeer.size > peersMax && oldest !== undefined) baseByPeer.delete(oldest);
    saveNews();
  };
  return {
    nowMs: () => nowMs(),
    tellMs: () => (isWrong() ? nowMs() : clock.wallMs()),
    observe(peer, theirNowMs) {
      if (Number.isFinite(theirNowMs)) vote(peer, theirNowMs);
    },
    dispute(peer, { fromMs, untilMs }) {
      const earliestMs = Math.max(fromMs, floorMs());
      if (earliestMs > untilMs) return;
      const before = baseByPeer.get(peer);
      const isNews =
        before === undefined || Math.abs(earliestMs - steady.nowMs() - before) >= toleranceMs;
      // Every attempt at a link disputes anew, several times a second.
      if (isNews)
        log.warn("the clocks of this machine and a peer differ", {
          peer,
          here: new Date(nowMs()).toISOString(),
          theirCertificateFrom: new Date(fromMs).toISOString(),
          theirCertificateUntil: new Date(untilMs).toISOString(),
        });
      vote(peer, earliestMs);
    },
    raiseTo(ms) {
      raiseTo(ms);
      saveNews();
    },
    close() {
      timer.cancel();
      save();
    },
  };
}
