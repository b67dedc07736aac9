/**
 * Records what controllers did, for `kubectl describe`. Recording never waits and never fails a loop:
 * happenings are merged while they wait, the queue is bounded, and what does not fit is counted.
 */
import { eventKind } from "../../api/index.ts";
import { every, type Clock, type Timer } from "../../lib/clock.ts";
import { isAbort } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Resources } from "../../resources/index.ts";
import { createSimilar, eventFor, seenAgain, surplusEvents, type Happening } from "./plan.ts";

export interface Recorder {
  record(happening: Happening): void;
  /** Happenings that were not recorded because too many waited. */
  readonly dropped: number;
  stop(): Promise<void>;
}

export type RecorderOptions = {
  readonly component?: string;
  readonly waitingMax?: number;
  /** Events in the cell; the oldest beyond are deleted. */
  readonly itemsMax?: number;
  readonly writeEveryMs?: number;
  readonly sweepEveryMs?: number;
};

export function createRecorder(
  deps: { resources: Resources; clock: Clock; log: Log },
  options: RecorderOptions = {},
): Recorder {
  const { resources, clock, log } = deps;
  const component = options.component ?? "skerry-controllers";
  const waitingMax = options.waitingMax ?? 256;
  const itemsMax = options.itemsMax ?? 2000;
  const waiting = new Map<string, { happening: Happening; times: number; atMs: number }>();
  const abort = new AbortController();
  const similar = createSimilar({ similarMax: 10, windowMs: 600_000, subjectsMax: 2048 });
  let dropped = 0;
  const running = new Set<Promise<void>>();

  const write = async ({
    happening,
    times,
    atMs,
  }: {
    happening: Happening;
    times: number;
    atMs: number;
  }) => {
    const event = eventFor(happening, component, atMs);
    const key = { namespace: event.metadata.namespace, name: event.metadata.name };
    const found = await resources.get(eventKind, key, { signal: abort.signal });
    const result = found
      ? await resources.update(eventKind, seenAgain(found, times, atMs, event.message), {
          signal: abort.signal,
        })
      : await resources.create(eventKind, { ...event, count: times }, { signal: abort.signal });
    // A count that is one too low, or an event of a namespace that goes, is no harm worth a repetition.
    if (result.state !== "done") log.debug("event not recorded", { event: key.name, result });
  };

  const drain = async () => {
    for (const [id, entry] of waiting) {
      waiting.delete(id);
      await write(entry);
    }
  };

  const sweep = async () => {
    const { items } = await resources.list(eventKind, { signal: abort.signal });
    for (const { metadata } of surplusEvents(items, itemsMax)) {
      const key = { namespace: metadata.namespace, name: metadata.name };
      await resources.delete(eventKind, key, {
        preconditions: { uid: metadata.uid, resourceVersion: metadata.resourceVersion },
        signal: abort.signal,
      });
    }
  };

  const timed = (periodMs: number, work: () => Promise<void>): Timer =>
    every(
      clock,
      periodMs,
      async () => {
        const run = work();
        running.add(run);
        await run.finally(() => running.delete(run));
      },
      (error) => {
        if (!isAbort(error)) log.warn("recording of events failed", { error });
      },
    );
  const timers = [
    timed(options.writeEveryMs ?? 500, drain),
    timed(options.sweepEveryMs ?? 300_000, sweep),
  ];

  return {
    record(given) {
      const combined = similar.isTooMany(given, clock.monotonicMs());
      const happening = combined ? { ...given, combined } : given;
      const { about, reason } = happening;
      const { namespace, name } = about.metadata;
      const message = combined ? "" : happening.message;
      const id = [about.kind, namespace, name, reason, message].join("\n");
      const before = waiting.get(id);
      if (!before && waiting.size >= waitingMax) {
        dropped++;
        return;
      }
      waiting.set(id, { happening, times: (before?.times ?? 0) + 1, atMs: clock.wallMs() });
    },
    get dropped() {
      return dropped;
    },
    async stop() {
      for (const timer of timers) timer.cancel();
      abort.abort(new DOMException("controllers stopped", "AbortError"));
      await Promise.allSettled(running);
    },
  };
}
