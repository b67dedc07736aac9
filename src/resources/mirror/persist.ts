/**
 * Writes what changed to the mirror's store: changes of a moment in one batch, one batch at a time.
 * After a failure the whole state is written, for nobody knows what the file holds then.
 */
import type { KubeObject } from "../../api/index.ts";
import { createBackoff } from "../../lib/backoff.ts";
import type { Clock, Timer } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import type { Reflected } from "./reflection.ts";
import type { MirrorBatch, MirroredObject, MirrorStore } from "../mirror-store/index.ts";

const gatherMs = 50;
const pauses = { initialMs: 500, maxMs: 30_000 };

export interface Persister {
  changed(resource: string, changes: readonly Reflected[]): void;
  /** The next batch is the whole state. */
  rewrite(): void;
  /** Writes what waits, once. */
  close(): Promise<void>;
}

export function createPersister(
  deps: { store: MirrorStore; clock: Clock; random: Random; log: Log },
  everything: () => readonly MirroredObject[],
): Persister {
  const { store, clock, log } = deps;
  const backoff = createBackoff(deps, pauses);
  let waiting = new Map<
    string,
    { resource: string; key: string; object: KubeObject | undefined }
  >();
  let whole = false;
  let timer: Timer | undefined;
  let writing: Promise<void> | undefined;
  let closed = false;

  const take = (): MirrorBatch => {
    const all = [...waiting.values()];
    const replace = whole;
    waiting = new Map();
    whole = false;
    if (replace) return { replace, put: everything(), delete: [] };
    return {
      replace,
      put: all.flatMap(({ resource, key, object }) =>
        object ? [{ resource, key, json: JSON.stringify(object) }] : [],
      ),
      delete: all.flatMap(({ resource, key, object }) => (object ? [] : [{ resource, key }])),
    };
  };

  const flush = async (): Promise<void> => {
    try {
      await store.apply(take());
      backoff.reset();
    } catch (error) {
      whole = true;
      log.error("desired state could not be written to disk; a restart would find an older one", {
        error,
      });
    }
  };

  const schedule = (delayMs: number) => {
    if (timer || writing || closed) return;
    timer = clock.after(delayMs, () => {
      timer = undefined;
      writing = flush().finally(() => {
        writing = undefined;
        if (whole) schedule(backoff.nextMs());
        else if (waiting.size > 0) schedule(gatherMs);
      });
    });
  };

  return {
    changed(resource, changes) {
      for (const { key, object } of changes)
        waiting.set(`${resource} ${key}`, { resource, key, object });
      if (changes.length > 0) schedule(gatherMs);
    },
    rewrite() {
      whole = true;
      schedule(gatherMs);
    },
    async close() {
      closed = true;
      timer?.cancel();
      await writing;
      if (whole || waiting.size > 0) await flush();
    },
  };
}
