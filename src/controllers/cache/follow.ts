/**
 * Keeps a cache true: list, then watch from there; a broken watch is resumed, a compacted one is
 * listed anew. Resuming starts one revision early: a revision may hold several objects of the kind,
 * and the break may have come between them.
 */
import type { KindDefinition, KubeObject } from "../../api/index.ts";
import { createBackoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { isAbort, SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import type { Resources } from "../../resources/index.ts";
import { revisionOf } from "../objects.ts";
import type { CacheWriter } from "./cache.ts";

const pageItems = 500;

/** Runs until the signal aborts; never throws. */
export async function followKind<T extends KubeObject>(
  deps: { resources: Resources; clock: Clock; random: Random; log: Log },
  what: {
    kind: KindDefinition<T>;
    cache: CacheWriter<T>;
    /** Default: all. */
    namespace?: string;
    signal: AbortSignal;
  },
): Promise<void> {
  const { kind, cache, signal } = what;
  const within = what.namespace === undefined ? {} : { namespace: what.namespace };
  const backoff = createBackoff(deps, { initialMs: 50, maxMs: 5000 });
  let resumeAt: number | undefined;
  while (!signal.aborted) {
    try {
      if (resumeAt === undefined) {
        const { items, revision } = await listAll(deps.resources, kind, { ...within, signal });
        cache.replace(items, revision);
        resumeAt = revision;
      }
      let last = resumeAt;
      const options = { ...within, resourceVersion: String(resumeAt), signal };
      for await (const event of deps.resources.watch(kind, options)) {
        backoff.reset();
        if (event.type === "BOOKMARK") {
          const revision = Number(event.resourceVersion);
          cache.advance(revision);
          resumeAt = Math.max(resumeAt, revision);
          last = Math.max(last, revision);
          continue;
        }
        const revision = revisionOf(event.object);
        if (revision > last) {
          resumeAt = Math.max(resumeAt, last);
          last = revision;
        }
        if (event.type === "DELETED") cache.remove(event.object);
        else cache.put(event.object);
      }
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      const code = error instanceof SkerryError ? error.code : undefined;
      if (code === "compacted" || code === "future-revision") resumeAt = undefined;
      deps.log.warn("watch broke", { kind: kind.kind, resumeAt, error });
    }
    await deps.clock.sleep(backoff.nextMs(), { signal }).catch(() => {});
  }
}

async function listAll<T extends KubeObject>(
  resources: Resources,
  kind: KindDefinition<T>,
  options: { namespace?: string; signal: AbortSignal },
): Promise<{ items: T[]; revision: number }> {
  const items: T[] = [];
  let continueToken: string | undefined;
  for (;;) {
    const page = await resources.list(kind, { ...options, limit: pageItems, continueToken });
    items.push(...page.items);
    continueToken = page.continueToken;
    if (!continueToken) return { items, revision: Number(page.resourceVersion) };
  }
}
