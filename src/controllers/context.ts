/** What every loop is given. */
import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import type { Resources } from "../resources/index.ts";
import type { Caches } from "./cache/caches.ts";
import type { Recorder } from "./events/recorder.ts";
import type { Loop } from "./loop/loop.ts";

export type Context = {
  readonly resources: Resources;
  readonly caches: Caches;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly events: Recorder;
};

/** Who wrote it, in `metadata.managedFields`. */
export const fieldManager = "skerry-controllers";

/** A loop with its subscriptions; `seed` adds every key there is, once the caches are full. */
export type Controller = { readonly loops: readonly Loop[]; seed(): void };
