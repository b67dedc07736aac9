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
import { createForeignLag } from "./foreign-lag.ts";

export type HubSyncOptions = {
  readonly node: string;
  /** How long the hub may lag behind another node's log before this node sends it. Default 5000. */
  readonly foreignLagMs?: number;
  /** Logs that no node of the cell writes; whoever has them sends them as its own. */
  readonly isShared?: (origin: string) => boolean;
  /** Default 1000. */
  readonly periodMs?: number;
  /** Default 64 KiB: the gate works on one for some milliseconds, in which the store takes no appends. */
  readonly batchBytesMax?: number;
  /** Default 30,000. */
  readonly requestTimeoutMs?: number;
};

export interface HubSync<C> {
  /** Sends over this hub connection until it closes; a newer one replaces it. */
  attach(hub: Hub<C>, closed: AbortSignal): void;
  /** The hub's durable vector as last heard. */
  vector(): Vector;
  /** A hub connection stands now. */
  readonly connected: boolean;
  on(event: "vector", listener: () => void): () => void;
  stop(): void;
}

/** Batches under way; more would only wait in the sockets. */
const windowBatches = 8;

export function createHubSync<C>(
  deps: {
    readonly store: {
      vector(): Promise<Vector>;
      /** Told now and then what the hub has. */
      markHub?(vector: Vector): Promise<void>;
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
  const batchBytesMax = options.batchBytesMax ?? 64 * 1024;
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
  let hubVector: Record<string, number> = {};
  /** This store's vector as last heard; undefined when it is to be asked. */
  let latest: Vector | undefined;
  let marked = true;
  let current: AbortController | undefined;
  let connected = false;
  /** Grows with everything that may give reason to send; what came during a wait is not missed. */
  let events = 0;
  let wake: (() => void) | undefined;
  const notice = () => {
    events++;
    wake?.();
    wake = undefined;
  };
  const eventAfter = async (seen: number) => {
    if (events !== seen) return;
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  };

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
  const askVector = async (hub: Hub<C>, signal: AbortSignal) =>
    learn({ ...(await withTimeout(signal, (limit) => hub.vector({ signal: limit }))) });

  /** Sends until the connection ends; throws when the hub fails to take something. */
  const send = async (hub: Hub<C>, signal: AbortSignal): Promise<void> => {
    await askVector(hub, signal);
    connected = true;
    const sentByOrigin = new Map<string, number>();
    const pushes: { inFlight: number; failure?: { error: unknown } } = { inFlight: 0 };
    const push = async ({ origin, to, bytes }: ClearedLog<C>) => {
      pushes.inFlight++;
      try {
        const vector = await withTimeout(signal, (limit) => hub.push(bytes, { signal: limit }));
        learn({ ...hubVector, ...vector });
        // Less than was sent: the hub lost some, or something came out of order. Go on from there.
        if ((vector[origin] ?? 0) < to) sentByOrigin.delete(origin);
      } catch (error) {
        pushes.failure ??= { error };
      } finally {
        pushes.inFlight--;
        notice();
      }
    };
    let askedMs = clock.monotonicMs();
    while (!signal.aborted && !pushes.failure) {
      const seen = events;
      const asked = latest ?? (await store.vector());
      // While it was asked, something newer may have been told.
      latest ??= asked;
      const mine = latest;
      let idle = true;
      for (const origin of lag.wanted(mine, hubVector)) {
        const from = Math.max(sentByOrigin.get(origin) ?? 0, hubVector[origin] ?? 0) + 1;
        if (from > (mine[origin] ?? 0) || pushes.inFlight >= windowBatches) continue;
        const batch = await egress.clear({ origin, from, bytesMax: batchBytesMax });
        if (!batch) continue;
        idle = false;
        sentByOrigin.set(origin, batch.to);
        void push(batch);
      }
      if (!idle) continue;
      if (lag.lags(mine, hubVector) && clock.monotonicMs() - askedMs >= periodMs) {
        askedMs = clock.monotonicMs();
        await askVector(hub, signal);
      }
      await eventAfter(seen);
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
    notice();
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
    notice();
  });

  return {
    attach(hub, closed) {
      current?.abort();
      const controller = new AbortController();
      current = controller;
      const end = () => controller.abort();
      controller.signal.addEventListener("abort", () => {
        closed.removeEventListener("abort", end);
        if (current === controller) connected = false;
        notice();
      });
      closed.addEventListener("abort", end);
      if (closed.aborted) return end();
      void run(hub, controller.signal);
    },
    vector: () => hubVector,
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

async function sleepUnless(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  try {
    await clock.sleep(ms, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
