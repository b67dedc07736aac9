/** Counts what a node's applications ask and what became of it. */
import { SkerryError } from "../../lib/errors.ts";
import type { Metrics } from "../../runtime/metrics/index.ts";
import type { Coordination } from "./coordination.ts";

export function measureCoordination(
  coordination: Coordination,
  deps: { metrics: Metrics },
): Coordination {
  const { metrics } = deps;
  const requests = metrics.counter(
    "skerry_coordination_requests_total",
    "Coordination requests of applications by what became of them.",
    ["operation", "outcome"],
  );
  const refusals = metrics.counter(
    "skerry_coordination_quota_refusals_total",
    "Requests refused because the application has used up a limit.",
    ["limit"],
  );
  const watches = metrics.gauge(
    "skerry_coordination_watches",
    "Watches and observers of applications that are open.",
  );
  const waiters = metrics.gauge(
    "skerry_coordination_waiters",
    "Requests of applications that wait for a lock or an election.",
  );
  const failed = (operation: string, error: unknown) => {
    requests.inc({ operation, outcome: "failed" });
    if (error instanceof SkerryError && error.code === "quota-exceeded")
      refusals.inc({ limit: String(error.details?.["limit"]) });
  };
  return {
    async call(caller, request, options) {
      const isWait = request.type === "claim" && (request.waitMs ?? 0) > 0;
      if (isWait) waiters.inc();
      try {
        const answer = await coordination.call(caller, request, options);
        const { state } = answer;
        const outcome = state === "refused" || state === "unknown" ? state : "done";
        requests.inc({ operation: request.type, outcome });
        return answer;
      } catch (error) {
        failed(request.type, error);
        throw error;
      } finally {
        if (isWait) waiters.dec();
      }
    },
    async *stream(caller, request, options) {
      watches.inc();
      try {
        yield* coordination.stream(caller, request, options);
        requests.inc({ operation: request.type, outcome: "done" });
      } catch (error) {
        failed(request.type, error);
        throw error;
      } finally {
        watches.dec();
      }
    },
  };
}
