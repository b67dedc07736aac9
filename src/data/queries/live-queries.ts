/**
 * Live queries on the main thread: who reads which, and when the queries' thread looks again. Nothing is
 * worked out for a reader that has not taken what came before. Looks go out one at a time and at most
 * every `roundMs`, for all readers that wait together: what the main thread does for them is bounded,
 * however fast documents are written.
 */
import type { Clock, Timer } from "../../lib/clock.ts";
import { decodeError, encodeError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { nameSuffix, type Random } from "../../lib/random.ts";
import { stable } from "../../lib/stable.ts";
import { createTurns } from "../../lib/turns.ts";
import type { Metrics } from "../../runtime/metrics/index.ts";
import { createGrowths, type Growth } from "./live-growth.ts";
import { ended, removed, tooMany } from "./live-refusal.ts";
import { countLiveQueries, type ResetReason } from "./live-metrics.ts";
import type { DocumentsRequest } from "./query.ts";
import { createSubscription, type LiveReader, type Subscription } from "./subscription.ts";
import type { LiveThread } from "./thread.ts";

export type LiveQueries = {
  /**
   * The first event is `result`, or after `lastEventId` either `resumed` and all that was missed, or
   * `reset`. Throws as a query does, and `store-busy` for one too many.
   */
  open(
    request: DocumentsRequest,
    options: { caller: string | undefined; lastEventId?: string },
  ): Promise<LiveReader>;
  /** Documents of these collections were written, and are on disk. */
  grown(collections: readonly string[]): void;
  /** What is declared, with text that differs where the declaration does. */
  declare(collections: ReadonlyMap<string, string>): void;
  /** Ends all readers; they may come back to another node, or after a restart. */
  stop(): void;
};

export type LiveOptions = {
  /** How long one that nobody reads can be resumed. */
  readonly resumeMs?: number;
  readonly beatMs?: number;
};

/** Those that wait to be resumed included. */
const livesMax = 512;
const roundMs = 10;
/** When many come at once, as after a restart, the others wait: queries have the thread as well. */
const openedAtATime = 2;
const resumeMsDefault = 60_000;
/** Silence that a proxy on the way would take for the end. */
const beatMsDefault = 10_000;

type Live = {
  readonly request: DocumentsRequest;
  /** Who may resume it, and with which query. */
  readonly of: string;
  readonly token: string;
  readonly growth: Growth;
  readonly subscription: Subscription;
  /** In the thread. */
  number: number;
  /** Of `growth.times`, what it has been told of. */
  seen: number;
  /** It did not wait when there was something to be told. */
  isLate: boolean;
  /** It has to begin anew, and why. */
  reset?: ResetReason | undefined;
  /** Nobody reads; when this is over it is forgotten. */
  parked?: Timer | undefined;
};

export function createLiveQueries(
  deps: { thread: LiveThread; clock: Clock; random: Random; log: Log; metrics: Metrics },
  { resumeMs = resumeMsDefault, beatMs = beatMsDefault }: LiveOptions = {},
): LiveQueries {
  const { thread, clock, random, log } = deps;
  const counters = countLiveQueries(deps.metrics);
  const liveByToken = new Map<string, Live>();
  const growths = createGrowths();
  let declared: ReadonlyMap<string, string> | undefined;
  const turns = createTurns(openedAtATime);
  let opening = 0;
  let numbers = 0;
  let round: Timer | undefined;
  let nextRoundMs = 0;
  let isLooking = false;
  let isRenewing = false;
  let beating: Timer | undefined;
  let isStopped = false;
  counters.open(() => liveByToken.size);

  const drop = (live: Live) => {
    if (!liveByToken.delete(live.token)) return;
    live.parked?.cancel();
    live.subscription.end();
    growths.unfollow(live.request.collection, live.growth);
    thread.close(live.number);
    if (liveByToken.size === 0) beating?.cancel();
  };
  const end = (live: Live, error: unknown) => {
    const { code, message, hint, retryable } = encodeError(error);
    live.subscription.deliver("end", JSON.stringify({ code, message, hint, retryable }));
    drop(live);
  };
  const isDue = ({ subscription, reset, seen, growth }: Live) =>
    subscription.isAwaited && reset === undefined && seen < growth.times;

  const schedule = () => {
    if (round || isLooking || isStopped) return;
    const waitMs = nextRoundMs - clock.monotonicMs();
    if (waitMs <= 0) void look();
    else round = clock.after(waitMs, () => void look());
  };
  const look = async () => {
    round = undefined;
    for (const live of liveByToken.values()) {
      const { subscription, parked, seen, growth } = live;
      if (live.isLate || parked || subscription.isAwaited || seen === growth.times) continue;
      live.isLate = true;
      counters.coalesced();
    }
    const due = [...liveByToken.values()].filter(isDue);
    if (due.length === 0) return;
    isLooking = true;
    nextRoundMs = clock.monotonicMs() + roundMs;
    const times = due.map(({ growth }) => growth.times);
    const dueByNumber = new Map(due.map((live) => [live.number, live]));
    try {
      const { told, ended, unknown, left } = await thread.look([...dueByNumber.keys()]);
      const again = new Set(left);
      // One that began anew meanwhile has another number, and its result has all of this.
      const find = (number: number) => {
        const live = dueByNumber.get(number);
        return live?.number === number && liveByToken.has(live.token) ? live : undefined;
      };
      for (const [at, live] of due.entries()) {
        if (again.has(live.number) || !dueByNumber.has(live.number)) continue;
        live.seen = times[at] ?? 0;
        live.isLate = false;
      }
      for (const { live, text } of told) {
        const { subscription } = find(live) ?? {};
        if (subscription) counters.differences();
        subscription?.deliver("changes", text);
      }
      for (const { live, error } of ended) {
        const over = find(live);
        if (over) end(over, decodeError(error));
      }
      for (const number of unknown) renew(find(number), "queries-restarted");
    } catch (error) {
      // Nobody knows what of it was looked at.
      log.warn("live queries begin anew", { queries: due.length, error });
      for (const live of due) renew(live, "queries-restarted");
    }
    isLooking = false;
    schedule();
  };

  const renew = (live: Live | undefined, reason: ResetReason) => {
    if (!live || !liveByToken.has(live.token)) return;
    live.reset ??= reason;
    void renewAll();
  };
  /** One after the other, beside the looks of all others; of those that nobody waits for, later. */
  const renewAll = async () => {
    if (isRenewing) return;
    isRenewing = true;
    const next = () =>
      [...liveByToken.values()].find(
        ({ subscription, reset }) => subscription.isAwaited && reset !== undefined,
      );
    for (let live = next(); live; live = next()) {
      const reason = live.reset as ResetReason;
      thread.close(live.number);
      live.number = ++numbers;
      live.seen = live.growth.times;
      live.reset = undefined;
      try {
        const again = { ...live.request, live: live.number };
        const rows = await turns.take(() => thread.open(again));
        if (!liveByToken.has(live.token)) thread.close(live.number);
        else if (live.reset === undefined) tellRows(live, rows, reason);
      } catch (error) {
        if (liveByToken.has(live.token)) end(live, error);
      }
    }
    isRenewing = false;
    schedule();
  };
  const tellRows = ({ subscription }: Live, rows: readonly string[], reason?: ResetReason) => {
    if (reason === undefined) return subscription.deliver("result", `{"rows":[${rows.join(",")}]}`);
    counters.reset(reason);
    subscription.deliver("reset", `{"reason":"${reason}","rows":[${rows.join(",")}]}`);
  };

  const beat = () => {
    for (const { subscription } of liveByToken.values()) subscription.beat();
    beating = clock.after(beatMs, beat);
  };
  const requireRoom = () => {
    if (isStopped) throw ended();
    if (liveByToken.size + opening < livesMax) return;
    const oldest = liveByToken.values().find(({ parked }) => parked !== undefined);
    if (oldest) return drop(oldest);
    throw tooMany(livesMax);
  };

  const resume = (id: string, of: string): LiveReader | undefined => {
    const [, token = "", sequence = ""] = /^(\w{20})\.(\d{1,15})$/.exec(id) ?? [];
    const live = liveByToken.get(token);
    if (live?.of !== of) return undefined;
    const reader = live.subscription.resume(Number(sequence));
    if (!reader) return void drop(live);
    live.parked?.cancel();
    live.parked = undefined;
    return reader;
  };
  const add = (
    request: DocumentsRequest,
    on: { of: string; number: number; growth: Growth; seen: number },
  ) => {
    const token = nameSuffix(random, 20);
    const live: Live = {
      ...on,
      request,
      token,
      isLate: false,
      subscription: createSubscription({
        token,
        onAwaited() {
          if (live.reset !== undefined) void renewAll();
          if (isDue(live)) schedule();
        },
        onLeft() {
          live.parked = clock.after(resumeMs, () => drop(live));
        },
      }),
    };
    if (liveByToken.size === 0) beating = clock.after(beatMs, beat);
    liveByToken.set(token, live);
    return live;
  };

  return {
    async open(request, { caller, lastEventId }) {
      const { collection, query } = request;
      const { where, shape, limit } = query;
      const of = stable({ caller, collection, where, shape, limit });
      const resumed = lastEventId === undefined ? undefined : resume(lastEventId, of);
      if (resumed) return resumed;
      requireRoom();
      const number = ++numbers;
      const growth = growths.follow(collection);
      let seen = 0;
      opening++;
      try {
        const rows = await turns.take(() => {
          seen = growth.times;
          return thread.open({ ...request, live: number });
        });
        const live = add(request, { of, number, growth, seen });
        const reader = live.subscription.read();
        tellRows(live, rows, lastEventId === undefined ? undefined : "not-resumable");
        if (isStopped) drop(live);
        return reader;
      } catch (error) {
        growths.unfollow(collection, growth);
        throw error;
      } finally {
        opening--;
      }
    },
    grown(collections) {
      if (growths.grown(collections)) schedule();
    },
    declare(now) {
      const before = declared ?? now;
      declared = now;
      for (const live of [...liveByToken.values()]) {
        const { collection } = live.request;
        if (before.get(collection) === now.get(collection)) continue;
        if (now.has(collection)) renew(live, "collection-changed");
        else end(live, removed(collection));
      }
    },
    stop() {
      isStopped = true;
      round?.cancel();
      for (const live of [...liveByToken.values()]) drop(live);
    },
  };
}
