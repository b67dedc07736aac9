/**
 * Store and forward to the hub: this node's own log from where the hub acknowledged it, and the logs
 * of other nodes when the hub does not get them from those nodes themselves. Everything sent is of
 * the type that only the egress gate makes; this file could not make one.
 */
import { createBackoff } from "../../lib/backoff.ts";
import { deadline, every, type Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import { createSignals } from "../../lib/signals.ts";
import type { ClearedLog, Egress, Hub } from "../ports.ts";
import type { Vector } from "../streams/store.ts";
import { originOfLog, parseLane } from "../tables/lanes.ts";
import { createBell } from "./bell.ts";
import { createForeignLag } from "./foreign-lag.ts";
import type { HubBudget } from "./hub-budget.ts";
import type { Observed, Proof } from "./replicated.ts";
import { createSendWindow } from "./send-window.ts";
import { createTurns } from "./turns.ts";
import { covers, withoutLogs } from "./vectors.ts";

export type HubSyncOptions = {
  readonly node: string;
  /** How long the hub may lag behind another node's log before this node sends it. Default 5000. */
  readonly foreignLagMs?: number;
  /** Logs that no node of the cell writes; whoever has them sends them as its own. */
  readonly isShared?: (origin: string) => boolean;
  /** Default 1000. */
  readonly periodMs?: number;
  /** Default 128 KiB: reading and clearing one takes 2 ms, in which the store takes no appends. */
  readonly batchBytesMax?: number;
  /** Default 30,000. */
  readonly requestTimeoutMs?: number;
  /** Of a log or a lane; the higher go first. Default 0. */
  readonly priorityOf?: (log: string) => number;
  readonly budget?: Pick<HubBudget, "room" | "spend">;
};

export interface HubSync<C> {
  /** Sends over this hub connection until it closes; a newer one replaces it. */
  attach(hub: Hub<C>, closed: AbortSignal): void;
  /** The hub's durable vector as last heard. */
  vector(): Vector;
  /** What another node heard from the hub; nothing while the hub can be asked. */
  overhear(told: Vector): Promise<void>;
  /** A hub connection stands now. */
  readonly connected: boolean;
  on(event: "vector", listener: () => void): () => void;
  stop(): void;
}

/** Batches under way: the more the farther the hub is. Two more for what is urgent. */
const windowBatches = { min: 8, max: 64 };
const urgentBatches = 2;

export function createHubSync<C>(
  deps: {
    readonly store: {
      vector(): Promise<Vector>;
      /** Told now and then what the hub has. */
      markHub?(vector: Vector): Promise<void>;
      /** Whether the hub has more of this store's log than the store itself (D7). */
      observe?(vector: Vector, proof?: Proof): Promise<Observed>;
      on(event: "grown", listener: (grown: { readonly vector: Vector }) => void): () => void;
    };
    readonly egress: Egress<C>;
    readonly clock: Clock;
    readonly random: Random;
    readonly log: Log;
  },
  options: HubSyncOptions,
): HubSync<C> {
  const { store, egress, clock, random, log } = deps;
  const batchBytesMax = options.batchBytesMax ?? 128 * 1024;
  const periodMs = options.periodMs ?? 1000;
  const timeoutMs = options.requestTimeoutMs ?? 30_000;
  const signals = createSignals<{ vector: undefined }>({
    onListenerError: (error) => log.error("a listener of the hub sync failed", { error }),
  });
  const lag = createForeignLag(
    { clock, random },
    {
      node: options.node,
      foreignLagMs: options.foreignLagMs ?? 5000,
      ...(options.isShared ? { isShared: options.isShared } : {}),
    },
  );
  const priorityOf = options.priorityOf ?? (() => 0);
  const { budget } = options;
  const turns = createTurns(priorityOf);
  let hubVector: Record<string, number> = {};
  /** Own logs that were given up, since the hub or a peer had other entries in them than this store. */
  let disputed: readonly string[] = [];
  /** This store's vector as last heard; undefined when it is to be asked. */
  let latest: Vector | undefined;
  let marked = true;
  /** Logs that wait for a damaged segment. */
  const damaged = new Set<string>();
  let current: AbortController | undefined;
  let connected = false;
  /** Rings with everything that may give reason to send. */
  const bell = createBell();

  const learn = (vector: Record<string, number>) => {
    hubVector = vector;
    marked = false;
    signals.emit("vector", undefined);
  };

  const withTimeout = async <T>(
    parent: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> => {
    const reason = () =>
      new SkerryError({
        code: "hub-silent",
        message: `the hub did not answer within ${timeoutMs} ms`,
        hint: "what was sent stays here and is sent again",
        retryable: true,
      });
    const limit = deadline(clock, timeoutMs, { parent, reason });
    try {
      return await work(limit.signal);
    } finally {
      limit.done();
    }
  };
  const observe = async (told: Vector, proof?: Proof) => {
    const found = await store.observe?.(told, proof);
    disputed = found?.disputed ?? disputed;
    return found?.ask;
  };
  const askVector = async (hub: Hub<C>, signal: AbortSignal) => {
    const told = await withTimeout(signal, (limit) => hub.vector({ signal: limit }));
    const ask = await observe(told);
    if (ask) {
      const same = Math.max(
        0,
        ...Object.entries(hubVector).map(([name, top]) =>
          originOfLog(name) === ask.origin ? top : 0,
        ),
      );
      await observe(told, { state: "told", same });
    }
    learn({ ...told });
    lag.heard();
  };

  const isUnopened = (name: string) =>
    parseLane(name) !== undefined && hubVector[name] === undefined;
  const spenderOf = (name: string) => ({
    stream: parseLane(name)?.stream,
    isUrgent: priorityOf(name) > 0,
  });
  const room = (name: string): number => budget?.room(spenderOf(name)) ?? Infinity;
  const mark = async () => {
    await store.markHub?.(hubVector);
  };

  /** Sends until the connection ends; throws when the hub fails to take something. */
  const send = async (hub: Hub<C>, signal: AbortSignal): Promise<void> => {
    await askVector(hub, signal);
    connected = true;
    const sentByLog = new Map<string, number>();
    const inFlightByOrigin = new Map<string, number>();
    const pushes: { inFlight: number; failure?: { error: unknown } } = { inFlight: 0 };
    const window = createSendWindow(windowBatches);
    const count = (log: string, change: 1 | -1) => {
      const origin = originOfLog(log);
      pushes.inFlight += change;
      inFlightByOrigin.set(origin, (inFlightByOrigin.get(origin) ?? 0) + change);
    };
    const push = async ({ origin: name, to, bytes }: ClearedLog<C>) => {
      const isOpening = isUnopened(name);
      count(name, 1);
      const sentMs = clock.monotonicMs();
      try {
        const vector = await withTimeout(signal, (limit) =>
          hub.push(bytes, { signal: limit, isUrgent: priorityOf(name) > 0 }),
        );
        window.answered(clock.monotonicMs() - sentMs, pushes.inFlight >= window.size);
        learn({ ...hubVector, ...vector });
        // Less than was sent: the hub lost some, or something came out of order. Go on from there.
        if ((vector[name] ?? 0) < to) sentByLog.delete(name);
        // What leaves with the rest of the log is decided by the store: it must know of the lane first.
        if (isOpening) await mark();
      } catch (error) {
        pushes.failure ??= { error };
      } finally {
        count(name, -1);
        bell.ring();
      }
    };
    /** Logs that had nothing to send, and when that was seen. */
    const emptyAt = new Map<string, number>();
    const wants = (mine: Vector) => (name: string) => {
      const sent = Math.max(sentByLog.get(name) ?? 0, hubVector[name] ?? 0);
      if (sent >= (mine[name] ?? 0)) return false;
      if (emptyAt.get(name) === bell.rung) return false;
      const isUrgent = priorityOf(name) > 0;
      if (pushes.inFlight >= window.size + (isUrgent ? urgentBatches : 0)) return false;
      // A lane begins behind what the hub has of its log: until that is settled, nothing moves.
      const origin = originOfLog(name);
      const isSettled = (inFlightByOrigin.get(origin) ?? 0) === 0;
      const opening = unopened(origin, mine);
      if (opening.length > 0 && !(isSettled && opening.includes(name))) return false;
      return room(name) > 0 || opening.includes(name);
    };
    const unopened = (origin: string, mine: Vector) =>
      Object.keys(mine).filter((name) => isUnopened(name) && originOfLog(name) === origin);
    const read = async (name: string): Promise<ClearedLog<C> | undefined> => {
      const from = Math.max(sentByLog.get(name) ?? 0, hubVector[name] ?? 0) + 1;
      const isOpening = isUnopened(name);
      if (isOpening) await mark();
      try {
        const bytesMax = isOpening ? 1 : Math.min(batchBytesMax, room(name));
        const batch = await egress.clear({ origin: name, from, bytesMax });
        damaged.delete(name);
        return batch;
      } catch (error) {
        // Others go on; what is damaged is being fetched again.
        if (!(error instanceof SkerryError) || error.code !== "segment-damaged") throw error;
        if (!damaged.has(name)) log.warn("a log cannot be sent on", { log: name, error });
        damaged.add(name);
        return undefined;
      }
    };
    let askedMs = clock.monotonicMs();
    while (!signal.aborted && !pushes.failure) {
      const seen = bell.rung;
      const asked = latest ?? (await store.vector());
      if (signal.aborted) break;
      // While it was asked, something newer may have been told.
      latest ??= asked;
      const mine = latest;
      const next = turns.next(lag.wanted(mine, hubVector).filter(wants(mine)));
      if (next !== undefined) {
        const batch = await read(next);
        if (batch) {
          sentByLog.set(next, batch.to);
          const bytes = sizeOf(batch.bytes);
          turns.gave(next, bytes);
          await budget?.spend(spenderOf(next), bytes);
          void push(batch);
        } else emptyAt.set(next, seen);
        continue;
      }
      if (lag.lags(mine, hubVector) && clock.monotonicMs() - askedMs >= periodMs) {
        askedMs = clock.monotonicMs();
        await askVector(hub, signal);
        continue;
      }
      await bell.after(seen);
    }
    if (pushes.failure && !signal.aborted) throw pushes.failure.error;
  };

  const run = async (hub: Hub<C>, signal: AbortSignal) => {
    const backoff = createBackoff({ random }, { initialMs: 500, maxMs: 15_000 });
    while (!signal.aborted) {
      try {
        await send(hub, signal);
      } catch (error) {
        connected = false;
        if (signal.aborted) break;
        // A hub that does not take this (yet): no reason to wake anybody again and again.
        if (error instanceof SkerryError && error.code === "unknown-method")
          log.debug("the hub does not take this", { error });
        else log.warn("sending to the hub failed; it is tried again", { error });
        await sleepUnless(clock, backoff.nextMs(), signal);
      }
    }
  };

  const tick = async () => {
    // A vector can move without a new entry in the view; once a period is soon enough for that.
    latest = undefined;
    bell.ring();
    if (marked) return;
    marked = true;
    try {
      await store.markHub?.(hubVector);
    } catch (error) {
      marked = false;
      throw error;
    }
  };
  const ticks = every(clock, periodMs, tick, (error) =>
    log.warn("the hub's vector could not be noted; it is tried again", { error }),
  );
  const unsubscribe = store.on("grown", ({ vector }) => {
    latest = vector;
    bell.ring();
  });

  return {
    async overhear(told) {
      const ask = await observe(told);
      if (connected) return;
      const known = { ...hubVector };
      for (const [name, top] of Object.entries(told)) {
        // Of a log that the hub has more of than there is, it has to speak itself (D7).
        if (originOfLog(name) !== ask?.origin) known[name] = Math.max(known[name] ?? 0, top);
      }
      if (!covers(hubVector, known)) learn(known);
    },
    attach(hub, closed) {
      current?.abort();
      const controller = new AbortController();
      current = controller;
      lag.connected();
      const end = () => controller.abort();
      controller.signal.addEventListener("abort", () => {
        closed.removeEventListener("abort", end);
        if (current === controller) connected = false;
        bell.ring();
      });
      closed.addEventListener("abort", end);
      if (closed.aborted) return end();
      void run(hub, controller.signal);
    },
    vector: () =>
      disputed.length === 0
        ? hubVector
        : withoutLogs(hubVector, (name) => disputed.includes(originOfLog(name))),
    get connected() {
      return connected;
    },
    on: (event, listener) => signals.on(event, listener),
    stop() {
      current?.abort();
      ticks.cancel();
      unsubscribe();
    },
  };
}

/** Of what the gate made: bytes. */
export const sizeOf = (bytes: unknown) => (bytes instanceof Uint8Array ? bytes.length : 0);

async function sleepUnless(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  try {
    await clock.sleep(ms, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
