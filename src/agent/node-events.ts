/**
 * Events that a node tells in its own name. Each is written under one name until an answer says that it
 * is there, or that it never will be: a connection that breaks under way loses none and doubles none.
 */
import { eventKind } from "../api/index.ts";
import { every, type Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import { nameSuffix, type Random } from "../lib/random.ts";
import type { Resources } from "../resources/index.ts";

export type NodeEvent = {
  readonly about: {
    readonly apiVersion: string;
    readonly kind: string;
    readonly name: string;
    readonly uid?: string;
  };
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
  readonly component: string;
};

export type NodeEvents = {
  /** Returns at once; what is refused for good is told in the log. */
  tell(event: NodeEvent): void;
  /** What is not recorded by now is given up. Idempotent. */
  stop(): void;
};

const retryMs = 1000;
/** Nobody reads of what happened longer ago than it takes for a server to come back. */
const triesMax = 300;

export function createNodeEvents(
  deps: { clock: Clock; random: Random; log: Log; events: Pick<Resources, "create"> },
  { node }: { node: string },
): NodeEvents {
  const { clock, random, log, events } = deps;
  const open = new Set<{ cancel(): void }>();

  return {
    tell({ about, type, reason, message, component }) {
      const atTime = new Date(clock.wallMs()).toISOString();
      const event = {
        apiVersion: "v1" as const,
        kind: "Event" as const,
        metadata: { name: `${about.name}.${nameSuffix(random, 10)}`, namespace: "default" },
        involvedObject: about,
        ...{ type, reason, message, count: 1, firstTimestamp: atTime, lastTimestamp: atTime },
        reportingComponent: component,
        reportingInstance: node,
        source: { component, host: node },
      };
      let tries = 0;
      const attempt = async () => {
        tries += 1;
        const result = await events.create(eventKind, event);
        if (result.state === "unknown") throw result.cause;
        timer.cancel();
        open.delete(timer);
        // It exists: an attempt whose answer was lost had recorded it.
        if (result.state === "refused" && result.reason !== "exists")
          log.warn("an event was refused", { reason, about, result });
      };
      const failed = (error: unknown) => {
        if (tries < triesMax) return log.debug("an event is not recorded yet", { reason, error });
        timer.cancel();
        open.delete(timer);
        log.warn("an event was not recorded", { reason, about, error });
      };
      const timer = every(clock, () => (tries === 0 ? 0 : retryMs), attempt, failed);
      open.add(timer);
    },
    stop() {
      for (const timer of open) timer.cancel();
      open.clear();
    },
  };
}
