/**
 * etcd takes a new member only once all others have been connected for five seconds: not right after one
 * was added, or started again.
 */
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { EtcdCluster, EtcdMember } from "./types.ts";

const patienceMs = 15_000;
const lookEveryMs = 500;

/** Adds a learner, waiting while the members have met a moment ago only. Throws `member-refused` when they go on to refuse it. */
export async function addLearnerOnceConnected(
  clock: Clock,
  cluster: Pick<EtcdCluster, "addLearner">,
  peerUrls: readonly string[],
  { signal }: { signal?: AbortSignal } = {},
): Promise<EtcdMember> {
  const untilMs = clock.monotonicMs() + patienceMs;
  for (;;) {
    try {
      return await cluster.addLearner(peerUrls);
    } catch (error) {
      const mayPass = error instanceof SkerryError && error.code === "member-refused";
      if (!mayPass || clock.monotonicMs() + lookEveryMs > untilMs) throw error;
    }
    await clock.sleep(lookEveryMs, { ...(signal ? { signal } : {}) });
  }
}
