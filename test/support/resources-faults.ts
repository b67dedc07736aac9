/** Resources that fail on purpose, by wrapping the contract. */
import type { KubeObject } from "../../src/api/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import type { Resources, WatchEvent, WriteResult } from "../../src/resources/index.ts";

export type ResourceFaults = {
  /** Called before each call; what it throws, the call throws. */
  readonly before?: (method: keyof Resources) => void;
  /** Called for each event of each watch; what it throws ends that watch. */
  readonly event?: () => void;
  /** True: the write is done, and its caller told `unknown`. */
  readonly hideOutcome?: (method: keyof Resources) => boolean;
};

export const unavailable = () =>
  new SkerryError({ code: "ledger-unavailable", message: "cut off by the test", retryable: true });

/** Fails the first time and never again. */
export function failOnce(error: () => Error = unavailable): () => void {
  let failed = false;
  return () => {
    if (failed) return;
    failed = true;
    throw error();
  };
}

export function withFaults(resources: Resources, faults: ResourceFaults): Resources {
  const read = async <T>(method: keyof Resources, run: () => Promise<T>): Promise<T> => {
    faults.before?.(method);
    return await run();
  };
  const write = async <T>(
    method: keyof Resources,
    run: () => Promise<WriteResult<T>>,
  ): Promise<WriteResult<T>> => {
    faults.before?.(method);
    const result = await run();
    return faults.hideOutcome?.(method) ? { state: "unknown", cause: unavailable() } : result;
  };
  async function* watch<T extends KubeObject>(
    events: AsyncIterable<WatchEvent<T>>,
  ): AsyncIterable<WatchEvent<T>> {
    faults.before?.("watch");
    for await (const event of events) {
      faults.event?.();
      yield event;
    }
  }
  return {
    get: (kind, key, options) => read("get", () => resources.get(kind, key, options)),
    list: (kind, options) => read("list", () => resources.list(kind, options)),
    watch: (kind, options) => watch(resources.watch(kind, options)),
    create: (kind, object, options) =>
      write("create", () => resources.create(kind, object, options)),
    update: (kind, object, options) =>
      write("update", () => resources.update(kind, object, options)),
    patch: (kind, key, patch, options) =>
      write("patch", () => resources.patch(kind, key, patch, options)),
    delete: (kind, key, options) => write("delete", () => resources.delete(kind, key, options)),
  };
}
