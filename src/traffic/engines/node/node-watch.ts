/**
 * Tells a silent node from a slow application. A machine that freezes or is cut off leaves its
 * connections open, so an attempt that waits is no evidence of anything: its node's proxy is asked
 * (a ping over the mesh, answered by the proxy thread itself). Who does not answer is silent: what
 * waits there and may be repeated moves on at once, and nothing new goes there until it answers.
 */
import type { Clock, Timer } from "../../../lib/clock.ts";
import { createBackoff, type Backoff } from "../../../lib/backoff.ts";
import type { Random } from "../../../lib/random.ts";
import { NodeSilent } from "./failure.ts";

export type NodeWatchOptions = {
  /** An attempt may wait this long before its node is asked. */
  readonly patienceMs: number;
  /** For the answer to a ping; more where pongs have been taking a quarter of it, up to a second. */
  readonly pongMs: number;
  /** What cannot be repeated, or has begun to be answered, is cut after this. */
  readonly silenceMs: number;
};

export type NodeWatchDependencies = {
  readonly clock: Clock;
  readonly random: Random;
  /** Resolves with false, and in time, when the node's proxy does not answer. Never rejects. */
  readonly ping: (node: string, limitMs: number) => Promise<boolean>;
  readonly onPing?: (answered: boolean) => void;
  readonly onSilent?: (node: string, why: string) => void;
  /** It stays silent: connections to it are not worth keeping. */
  readonly onLost?: (node: string) => void;
  readonly onHeard?: (node: string, afterMs: number) => void;
  /** A silent node is not looked at any more. */
  readonly onForgotten?: (node: string) => void;
};

/** An attempt at a node, as far as the watch needs to know it. */
export type Watched = {
  /** Whether another endpoint may get the request instead. Asked while the node is silent. */
  canMove(): boolean;
  abort(reason: Error): void;
};

export interface WatchedTurn {
  /** Its answer began: the node spoke. */
  heard(): void;
  /** Idempotent. */
  end(): void;
}

export interface NodeWatch {
  begin(node: string, attempt: Watched): WatchedTurn;
  isSilent(node: string): boolean;
  /** A connection to it could not be made: silent until it answers a ping. */
  suspect(node: string, why: string): void;
  readonly silentCount: number;
  /** Forgets the nodes that are not named. */
  retain(nodes: ReadonlySet<string>): void;
  close(): void;
}

type Entry = Watched & { readonly sinceMs: number };
type Silence = {
  readonly sinceMs: number;
  readonly backoff: Backoff;
  probe: Timer | undefined;
  lost: boolean;
};
type Watch = {
  readonly node: string;
  /** Oldest first. */
  readonly waiting: Set<Entry>;
  /** Answers under way. */
  readonly open: Set<Entry>;
  heardMs: number;
  /** Of pings, smoothed. */
  roundTripMs: number;
  asking: boolean;
  tick: Timer | undefined;
  silence: Silence | undefined;
};

const tickMs = 50;
/** While only answers are under way; they say for themselves that the node lives. */
const openPatienceMs = 2_000;
/** For the answer to a ping in the background. */
const probeMs = 1_000;
/**
 * Before connections are given up: making them anew costs a handshake each, which a node that was
 * only slow, or this one, may not have to spare.
 */
const lostMs = 2_000;
/** As TCP smooths its round trips (RFC 6298), a little quicker. */
const roundTripGain = 0.2;
/** This thread itself did not run: what the timer was to judge may lie unread. */
const lateMs = 100;

export function createNodeWatch(deps: NodeWatchDependencies, options: NodeWatchOptions): NodeWatch {
  const { clock } = deps;
  const { patienceMs, pongMs, silenceMs } = options;
  const watchByNode = new Map<string, Watch>();
  let closed = false;

  const watchOf = (node: string): Watch => {
    const known = watchByNode.get(node);
    if (known) return known;
    const watch: Watch = {
      node,
      waiting: new Set(),
      open: new Set(),
      heardMs: clock.monotonicMs(),
      roundTripMs: 0,
      asking: false,
      tick: undefined,
      silence: undefined,
    };
    watchByNode.set(node, watch);
    return watch;
  };

  const arm = (watch: Watch) => {
    if (watch.tick || closed) return;
    const dueMs = clock.monotonicMs() + tickMs;
    watch.tick = clock.after(tickMs, () => {
      watch.tick = undefined;
      if (watch.waiting.size === 0 && watch.open.size === 0) return;
      // One more turn of the loop, in which what has come is read.
      if (clock.monotonicMs() - dueMs <= lateMs) look(watch);
      arm(watch);
    });
  };

  const look = (watch: Watch) => {
    const nowMs = clock.monotonicMs();
    if (watch.silence) return moveOn(watch, nowMs);
    if (watch.asking) return;
    const oldest = watch.waiting.values().next().value;
    const waits = oldest !== undefined && nowMs - oldest.sinceMs >= patienceMs;
    const unheardMs = nowMs - watch.heardMs;
    if ((waits && unheardMs >= patienceMs) || unheardMs >= openPatienceMs) void ask(watch);
  };

  const ask = async (watch: Watch) => {
    watch.asking = true;
    const answered = await pinged(
      watch,
      Math.min(probeMs, Math.max(pongMs, 4 * watch.roundTripMs)),
    );
    watch.asking = false;
    if (closed || watchByNode.get(watch.node) !== watch) return;
    if (answered) heard(watch);
    else if (!watch.silence) fallSilent(watch, "does not answer");
  };

  const pinged = async (watch: Watch, limitMs: number, isAgain = false): Promise<boolean> => {
    const askedMs = clock.monotonicMs();
    const answered = await deps.ping(watch.node, limitMs);
    deps.onPing?.(answered);
    const tookMs = clock.monotonicMs() - askedMs;
    if (answered) watch.roundTripMs += (tookMs - watch.roundTripMs) * roundTripGain;
    // The limit came too late to be one: what was answered meanwhile is not read yet. Asked again once
    // only, or a machine that is always late would never find out anything.
    else if (tookMs > limitMs + lateMs && !isAgain) return pinged(watch, limitMs, true);
    return answered;
  };

  const fallSilent = (watch: Watch, why: string) => {
    const sinceMs = clock.monotonicMs();
    const backoff = createBackoff(deps, { initialMs: 100, maxMs: 1_000 });
    watch.silence = { sinceMs, backoff, probe: undefined, lost: false };
    deps.onSilent?.(watch.node, why);
    moveOn(watch, sinceMs);
    probeLater(watch);
  };

  const probeLater = (watch: Watch) => {
    const { silence } = watch;
    if (!silence || closed) return;
    silence.probe = clock.after(silence.backoff.nextMs(), () => {
      void (async () => {
        // No request waits for it: one that is begun in silence is answered when the node wakes up.
        const answered = await pinged(watch, probeMs);
        if (watch.silence !== silence) return;
        if (answered) return heard(watch);
        if (!silence.lost && clock.monotonicMs() - silence.sinceMs >= lostMs) {
          silence.lost = true;
          deps.onLost?.(watch.node);
        }
        probeLater(watch);
      })();
    });
  };

  /** Moves what may be moved; cuts the rest when it has waited long enough. */
  const moveOn = (watch: Watch, nowMs: number) => {
    const silentFromMs = watch.silence?.sinceMs ?? nowMs;
    const isOver = ({ sinceMs }: Entry) => nowMs - Math.max(silentFromMs, sinceMs) >= silenceMs;
    for (const entry of [...watch.waiting, ...watch.open]) {
      const gaveUp = isOver(entry);
      if (gaveUp || (watch.waiting.has(entry) && entry.canMove()))
        entry.abort(new NodeSilent(`node ${watch.node} is silent`, { gaveUp }));
    }
  };

  const heard = (watch: Watch) => {
    const nowMs = clock.monotonicMs();
    watch.heardMs = nowMs;
    const { silence } = watch;
    if (!silence) return;
    silence.probe?.cancel();
    watch.silence = undefined;
    deps.onHeard?.(watch.node, nowMs - silence.sinceMs);
  };

  const forget = (watch: Watch) => {
    watch.tick?.cancel();
    watch.silence?.probe?.cancel();
    watch.silence = undefined;
  };

  return {
    begin(node, attempt) {
      const watch = watchOf(node);
      const nowMs = clock.monotonicMs();
      // Nothing was expected of it meanwhile.
      if (watch.waiting.size === 0 && watch.open.size === 0) watch.heardMs = nowMs;
      const entry: Entry = { ...attempt, sinceMs: nowMs };
      watch.waiting.add(entry);
      arm(watch);
      return {
        heard() {
          if (watch.waiting.delete(entry)) watch.open.add(entry);
          heard(watch);
        },
        end() {
          if (!watch.waiting.delete(entry)) watch.open.delete(entry);
        },
      };
    },
    isSilent: (node) => watchByNode.get(node)?.silence !== undefined,
    suspect(node, why) {
      const watch = watchOf(node);
      if (!watch.silence && !closed) fallSilent(watch, why);
    },
    get silentCount() {
      let count = 0;
      for (const { silence } of watchByNode.values()) if (silence) count++;
      return count;
    },
    retain(nodes) {
      for (const [node, watch] of watchByNode) {
        if (nodes.has(node)) continue;
        // What is under way there ends by its own; nothing new will come.
        if (watch.waiting.size > 0 || watch.open.size > 0) continue;
        const wasSilent = watch.silence !== undefined;
        forget(watch);
        watchByNode.delete(node);
        if (wasSilent) deps.onForgotten?.(node);
      }
    },
    close() {
      closed = true;
      for (const watch of watchByNode.values()) forget(watch);
    },
  };
}
