/**
 * Keeps a reflection true to what is upstream: list, watch from there, resume where a watch broke,
 * list again where history was lost. For ever, with a growing pause after failures.
 */
import type { KubeObject } from "../../api/index.ts";
import { createBackoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import type { ListOptions, Resources } from "../resources.ts";
import { createPlace } from "../watching.ts";
import type { Reflected, Reflection } from "./reflection.ts";

const pageItems = 500;
const pauses = { initialMs: 100, maxMs: 5000 };

export type FollowDeps = {
  readonly upstream: Resources;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Tells when upstream may be back (or gone), so that a growing pause is not sat out. */
  readonly onUpstreamChange?: (listener: () => void) => () => void;
};

export type FollowEvents = {
  /** Something came from upstream; `listed` when it was the whole truth. */
  onContact(listed: boolean): void;
  onChange(changes: readonly Reflected[]): void;
};

/** Runs until the signal aborts; never throws. */
export async function follow(
  deps: FollowDeps,
  reflection: Reflection,
  options: { scope: ListOptions; signal: AbortSignal; events: FollowEvents },
): Promise<void> {
  const { upstream, log } = deps;
  const { scope, signal, events } = options;
  const { kind } = reflection;
  const backoff = createBackoff(deps, pauses);
  let place: ReturnType<typeof createPlace> | undefined;
  let lost = false;

  const contact = (listed: boolean) => {
    if (lost) log.info("desired state is followed again", { kind: kind.kind });
    lost = false;
    backoff.reset();
    events.onContact(listed);
  };

  while (!signal.aborted) {
    try {
      if (!place) {
        const { items, resourceVersion } = await listAll(upstream, reflection, scope, signal);
        events.onChange(reflection.replace(items, resourceVersion));
        place = createPlace(resourceVersion);
        contact(true);
      }
      const query = { ...scope, resourceVersion: place.resumeAt(), signal };
      for await (const event of upstream.watch(kind, query)) {
        if (place.isNew(event)) events.onChange(reflection.apply(event));
        contact(false);
      }
    } catch (error) {
      if (signal.aborted) return;
      const code = error instanceof SkerryError ? error.code : undefined;
      if (code === "compacted" || code === "future-revision") place = undefined;
      else if (!lost) {
        log.warn("desired state cannot be followed; what is known stays", {
          kind: kind.kind,
          error,
        });
        lost = true;
      }
    }
    if ((await rest(deps, backoff.nextMs(), signal)) === "woken") backoff.reset();
  }
}

/** Ends early with the signal, which the loop asks, or when upstream may be back. */
function rest(
  { clock, onUpstreamChange }: FollowDeps,
  delayMs: number,
  signal: AbortSignal,
): Promise<"rested" | "woken"> {
  return new Promise((resolve) => {
    const end = (how: "rested" | "woken") => {
      timer.cancel();
      forget?.();
      signal.removeEventListener("abort", stop);
      resolve(how);
    };
    const stop = () => end("rested");
    const timer = clock.after(delayMs, stop);
    const forget = onUpstreamChange?.(() => end("woken"));
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
  });
}

async function listAll(
  upstream: Resources,
  { kind }: Reflection,
  scope: ListOptions,
  signal: AbortSignal,
): Promise<{ items: KubeObject[]; resourceVersion: string }> {
  const items: KubeObject[] = [];
  let continueToken: string | undefined;
  for (;;) {
    const page = await upstream.list(kind, { ...scope, limit: pageItems, continueToken, signal });
    items.push(...page.items);
    continueToken = page.continueToken;
    if (continueToken === undefined) return { items, resourceVersion: page.resourceVersion };
  }
}
