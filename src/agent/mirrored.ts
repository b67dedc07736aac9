/** Lists that follow the mirror: a part is told the whole list of a kind, now and after each change. */
import type { KindDefinition, KubeObject } from "../api/index.ts";
import { isAbort } from "../lib/errors.ts";
import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import type { ListOptions, Resources } from "../resources/index.ts";

export type MirroredSelection = Pick<ListOptions, "namespace" | "fieldSelector">;

export type Mirrored = {
  /** Calls `listener` with all objects once they are known, or those selected, and again after each burst of changes. */
  follow<T extends KubeObject>(
    kind: KindDefinition<T>,
    listener: (objects: readonly T[]) => void,
    selection?: MirroredSelection,
  ): void;
};

const retryMs = 1000;

export function createMirrored(deps: {
  resources: Resources;
  clock: Clock;
  log: Log;
  signal: AbortSignal;
}): Mirrored {
  const { resources, clock, log, signal } = deps;
  return {
    follow(kind, listener, selection = {}) {
      // One object that a part cannot read must not end the agent, and again at every start of it.
      const tellSafely: typeof listener = (objects) => {
        try {
          listener(objects);
        } catch (error) {
          log.error("a part did not take what changed", { kind: kind.kind, error });
        }
      };
      void (async () => {
        while (!signal.aborted) {
          try {
            await followOnce(resources, kind, tellSafely, { ...selection, signal });
          } catch (error) {
            if (signal.aborted || isAbort(error)) return;
            log.warn("following the mirror failed; it begins anew", { kind: kind.kind, error });
          }
          await clock.sleep(retryMs, { signal }).catch(() => undefined);
        }
      })();
    },
  };
}

async function followOnce<T extends KubeObject>(
  resources: Resources,
  kind: KindDefinition<T>,
  listener: (objects: readonly T[]) => void,
  options: MirroredSelection & { signal: AbortSignal },
): Promise<void> {
  const { signal } = options;
  const byKey = new Map<string, T>();
  let complete = false;
  let scheduled = false;
  const tell = () => {
    if (!complete || scheduled) return;
    scheduled = true;
    // Changes come in bursts; a part is told once for all of one turn.
    setImmediate(() => {
      scheduled = false;
      if (!signal.aborted) listener([...byKey.values()]);
    });
  };
  for await (const event of resources.watch(kind, options)) {
    if (event.type === "BOOKMARK") {
      if (complete) continue;
      complete = true;
    } else {
      const { namespace, name } = event.object.metadata;
      const key = `${namespace ?? ""}/${name}`;
      if (event.type === "DELETED") byKey.delete(key);
      else byKey.set(key, event.object);
    }
    tell();
  }
}
