/**
 * The shell around evidence, verdicts and ladder: a tick every 250 ms, or sooner where somebody's time
 * is up, that judges, compares with what was judged before, and says what changed. Opens no sockets: the root hands in verified beats.
 */
import type { Beat, Ladder, LadderRung, NodeVerdict, ReachRecord } from "../api/index.ts";
import type { MonotonicMs } from "../lib/brand.ts";
import type { Clock, Timer } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import type { Signals } from "../lib/signals.ts";
import { createEvidence, type BeatOutcome } from "./evidence.ts";
import {
  evictionDefaults,
  isProved,
  mayEvict,
  type EvictionDecision,
  type EvictionOptions,
} from "./eviction.ts";
import {
  climb,
  ladderDefaults,
  ladderOf,
  measurePeers,
  rungOf,
  tellLadder,
  type LadderOptions,
  type LadderState,
  type LadderStory,
} from "./ladder.ts";
import type { MembershipPorts } from "./ports.ts";
import { reachOf } from "./reach.ts";
import {
  dueInMs,
  judge,
  toleranceOf,
  verdictDefaults,
  type Tolerance,
  type VerdictOptions,
} from "./verdict.ts";

export type MembershipOptions = {
  readonly tickMs?: number;
  /** A tick later than this means that this process was not listening, and silence says nothing. */
  readonly pauseMs?: number;
  readonly verdict?: Partial<VerdictOptions>;
  readonly eviction?: Partial<EvictionOptions>;
  readonly ladder?: Partial<LadderOptions>;
};

export type MembershipEvents = {
  /** Of state only: a growing `forMs` is no change. `before` is undefined for a new node. */
  verdict: { readonly node: string; readonly verdict: NodeVerdict; readonly before?: NodeVerdict };
  gone: { readonly node: string };
  ladder: { readonly ladder: Ladder; readonly rung: LadderRung; readonly before?: Ladder };
  /** This process slept for `gapMs`; silence is counted anew. */
  paused: { readonly gapMs: number };
};

export interface Membership {
  /** A beat whose signature holds and whose certificate names `beat.node`. */
  onBeat(beat: Beat): BeatOutcome;
  /**
   * The hub answered; `heard`: ages in ms of what the hub heard from this cell's nodes by their own
   * links; `listenedForMs`: how long it surely has been there to hear them, for ever when not given.
   */
  onHubContact(heard?: Readonly<Record<string, number>>, listenedForMs?: number): void;
  /** A server answered a request of this node. */
  onServerContact(): void;
  /** As of now, this node itself included (always `alive`). */
  verdicts(): ReadonlyMap<string, NodeVerdict>;
  /** Rule E for one node, as of now. */
  mayEvict(node: string): EvictionDecision;
  /** How long this node may be silent, as of now; undefined when it is not known. */
  tolerance(node: string): Tolerance | undefined;
  ladder(): Ladder;
  story(): LadderStory;
  /** Who heard whom, by which path, and when, as this node knows it now. */
  reach(): ReachRecord;
  /** Since the hub last answered this node. */
  hubAgoMs(): number | undefined;
  stop(): void;
}

/** Timers that fire early by a fraction of a millisecond must not make the ticks spin. */
const tickMsMin = 5;
/** Peers that were not heard for longer are left out of this node's own report. */
const reportAgeMsMax = 60_000;

/** Starts ticking at once; `stop` ends it. */
export function createMembership(
  deps: {
    readonly self: string;
    readonly clock: Clock;
    readonly log: Log;
    readonly signals: Signals<MembershipEvents>;
    readonly ports: MembershipPorts;
  },
  options: MembershipOptions = {},
): Membership {
  const { self, clock, log, signals, ports } = deps;
  const tickMs = options.tickMs ?? 250;
  const pauseMs = options.pauseMs ?? tickMs * 2;
  const verdictOptions = { ...verdictDefaults, ...options.verdict };
  const evictionOptions = { ...evictionDefaults, ...options.eviction };
  const ladderOptions = { ...ladderDefaults, ...options.ladder };

  const book = createEvidence(self);
  let told: ReadonlyMap<string, NodeVerdict> = new Map();
  let rungs: LadderState | undefined;
  /** Since when the ledger's quorum has answered without a gap. */
  let quorumSinceMs: MonotonicMs | undefined;
  let lastTickMs = clock.monotonicMs();
  let timer: Timer | undefined;
  let stopped = false;

  /**
   * A process that slept (SIGSTOP, suspend, a long collection) finds everybody silent. Called before
   * anything is judged, not only by the tick: a caller may ask before the late tick has run.
   */
  const noticeOwnPause = (nowMs: MonotonicMs) => {
    const gapMs = nowMs - lastTickMs;
    if (gapMs <= tickMs + pauseMs) return;
    const silent = [...told].filter(([, verdict]) => verdict.state === "unreachable");
    book.forgive(nowMs, new Set(silent.map(([node]) => node)));
    lastTickMs = nowMs;
    log.warn("this process was paused; silence of others is counted anew", { gapMs });
    signals.emit("paused", { gapMs });
  };

  /** What other paths than beats have brought. */
  const lookAround = (nowMs: MonotonicMs) => {
    const ledger = ports.ledger();
    const proved = isProved(ledger, { nowMs, options: evictionOptions });
    quorumSinceMs = proved ? (quorumSinceMs ?? nowMs) : undefined;
    const members = ledger.state === "sole" ? [] : ledger.members;
    const answers = members.flatMap(({ name, answeredMs }) =>
      answeredMs === undefined ? [] : [[name, answeredMs] as const],
    );
    book.note("link", ports.links(), nowMs);
    book.note("ledger", new Map(answers), nowMs);
  };

  const judgeNow = (): Map<string, NodeVerdict> => {
    const nowMs = clock.monotonicMs();
    noticeOwnPause(nowMs);
    lookAround(nowMs);
    return judge(book.evidence, nowMs, verdictOptions);
  };

  const tell = (verdicts: ReadonlyMap<string, NodeVerdict>, nowMs: MonotonicMs) => {
    const before = told;
    told = verdicts;
    for (const [node, verdict] of verdicts) {
      const last = before.get(node);
      if (last?.state === verdict.state) continue;
      if (last?.state === "unreachable") book.flapped(node, nowMs);
      const fields = { node, verdict, before: last?.state };
      if (verdict.state === "alive" || verdict.state === "unknown") log.info("verdict", fields);
      else log.warn("verdict", fields);
      signals.emit("verdict", { node, verdict, before: last });
    }
    for (const node of before.keys()) if (!verdicts.has(node)) signals.emit("gone", { node });
  };

  const climbNow = (nowMs: MonotonicMs) => {
    const before = rungs && ladderOf(rungs);
    const peers = measurePeers(told.values());
    rungs = climb(rungs, { ...ports.situation(), peers }, nowMs, ladderOptions);
    const ladder = ladderOf(rungs);
    const rung = rungOf(ladder);
    if (before && sameLadder(before, ladder)) return;
    log.info("ladder", { rung, ...ladder });
    signals.emit("ladder", { ladder, rung, before });
  };

  const tick = () => {
    if (stopped) return;
    const nowMs = clock.monotonicMs();
    noticeOwnPause(nowMs);
    lastTickMs = nowMs;
    book.expect(ports.nodes(), nowMs);
    tell(judgeNow(), nowMs);
    climbNow(nowMs);
    ports.setHeard(book.heard(nowMs, reportAgeMsMax));
  };

  const run = () => {
    try {
      tick();
    } catch (error) {
      // A port that throws must not end the watch over the cell; the next tick asks it again.
      log.error("membership tick failed", { error });
    }
    if (stopped) return;
    const withinMs = clock.untilNext?.(tickMs) ?? tickMs;
    const nextMs = dueInMs(book.evidence, clock.monotonicMs(), withinMs, verdictOptions);
    timer = clock.after(Math.max(tickMsMin, Math.ceil(nextMs)), run);
  };
  run();

  return {
    onBeat: (beat) => book.take(beat, clock.monotonicMs()),
    onHubContact: (heard = {}, listenedForMs = Infinity) =>
      book.hubContact(heard, listenedForMs, clock.monotonicMs()),
    onServerContact: () => book.serverContact(clock.monotonicMs()),
    verdicts: () => new Map<string, NodeVerdict>([[self, { state: "alive" }], ...judgeNow()]),
    mayEvict(node) {
      const verdicts = judgeNow();
      const nowMs = clock.monotonicMs();
      const heardAgoMs = new Map(Object.entries(book.heard(nowMs, reportAgeMsMax)));
      const quorumForMs = quorumSinceMs === undefined ? 0 : nowMs - quorumSinceMs;
      const view = { verdicts, heardAgoMs, ledger: ports.ledger(), quorumForMs, nowMs };
      return mayEvict(node, view, evictionOptions);
    },
    tolerance(node) {
      const entry = book.evidence.nodes.get(node);
      return entry && toleranceOf(entry, clock.monotonicMs(), verdictOptions);
    },
    ladder: () =>
      rungs ? ladderOf(rungs) : { ...ports.situation(), peers: measurePeers(told.values()) },
    story() {
      return tellLadder(this.ladder());
    },
    reach() {
      const nowMs = clock.monotonicMs();
      lookAround(nowMs);
      return reachOf(book.evidence, nowMs, verdictOptions);
    },
    hubAgoMs() {
      const contactMs = book.evidence.hub?.contactMs;
      return contactMs === undefined ? undefined : Math.round(clock.monotonicMs() - contactMs);
    },
    stop() {
      stopped = true;
      timer?.cancel();
    },
  };
}

function sameLadder(a: Ladder, b: Ladder): boolean {
  return (
    a.hub === b.hub && a.quorum === b.quorum && a.peers === b.peers && a.resources === b.resources
  );
}
