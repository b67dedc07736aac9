/** Resources whose writes are refused or of unknown outcome, and whose watches lag and break, by a seed. */
import type { KubeObject } from "../../src/api/index.ts";
import type { Clock } from "../../src/lib/clock.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import type { Random } from "../../src/lib/random.ts";
import type { Resources, WatchEvent, WriteResult } from "../../src/resources/index.ts";

export type FaultRates = {
  readonly conflict: number;
  /** Half of these were written all the same. */
  readonly unknown: number;
  readonly unavailable: number;
  readonly watchBreaks: number;
  readonly watchLagMs: number;
};

export const noFaults: FaultRates = {
  conflict: 0,
  unknown: 0,
  unavailable: 0,
  watchBreaks: 0,
  watchLagMs: 0,
};

/** `rates` is asked at every call, so that a test can end the trouble. */
export function withResourceFaults(
  resources: Resources,
  deps: { clock: Clock; random: Random },
  rates: () => FaultRates,
): Resources {
  const { clock, random } = deps;
  const unavailable = () =>
    new SkerryError({ code: "ledger-unavailable", message: "planted", retryable: true });

  const write = async <T>(run: () => Promise<WriteResult<T>>): Promise<WriteResult<T>> => {
    const now = rates();
    const draw = random.float();
    if (draw < now.unavailable) throw unavailable();
    if (draw < now.unavailable + now.conflict)
      return { state: "refused", reason: "conflict", message: "planted" };
    if (draw < now.unavailable + now.conflict + now.unknown) {
      const cause = unavailable();
      if (random.float() < 0.5) await run();
      return { state: "unknown", cause };
    }
    return await run();
  };

  async function* watch<T extends KubeObject>(
    source: AsyncIterable<WatchEvent<T>>,
    signal: AbortSignal | undefined,
  ): AsyncIterable<WatchEvent<T>> {
    for await (const event of source) {
      const now = rates();
      if (now.watchLagMs > 0)
        await clock.sleep(random.float() * now.watchLagMs, { signal }).catch(() => {});
      if (signal?.aborted) return;
      const draw = random.float();
      if (draw < now.watchBreaks / 4)
        throw new SkerryError({ code: "compacted", message: "planted", retryable: true });
      if (draw < now.watchBreaks / 2) return;
      yield event;
      if (draw < now.watchBreaks) throw unavailable();
    }
  }

  return {
    async get(kind, key, options) {
      if (random.float() < rates().unavailable) throw unavailable();
      return await resources.get(kind, key, options);
    },
    async list(kind, options) {
      if (random.float() < rates().unavailable) throw unavailable();
      return await resources.list(kind, options);
    },
    watch: (kind, options) => watch(resources.watch(kind, options), options?.signal),
    create: (kind, object, options) => write(() => resources.create(kind, object, options)),
    update: (kind, object, options) => write(() => resources.update(kind, object, options)),
    patch: (kind, key, patch, options) => write(() => resources.patch(kind, key, patch, options)),
    delete: (kind, key, options) => write(() => resources.delete(kind, key, options)),
  };
}
