/**
 * A pod that is deleted hears of it (SIGTERM) only when nobody is sent to it any more; else it would
 * close connections that requests are just being written to. What Kubernetes leaves to a `preStop`
 * sleep is waited for here.
 */
import type { Pod } from "../../api/index.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Rotation } from "../ports.ts";

/** Without a controller that takes it out, or with a server lost, the pod ends all the same. */
const waitMsMax = 2_000;
const pollMs = 25;
/** Other nodes hear of it a moment later than this one. */
const settleMs = 150;

/**
 * Resolves when the pod has left, at the latest after two seconds; at once for a pod without ports.
 * Throws nothing: a rotation that cannot be looked at counts as left.
 */
export async function leaveRotation(
  deps: { readonly clock: Clock; readonly rotation?: Rotation | undefined },
  pod: Pod,
): Promise<void> {
  const { clock, rotation } = deps;
  const hasPorts = pod.spec.containers.some(({ ports = [] }) => ports.length > 0);
  if (!rotation || !hasPorts) return;
  const isHeld = () => rotation.holds(pod).catch(() => false);
  const untilMs = clock.monotonicMs() + waitMsMax;
  while (clock.monotonicMs() < untilMs && (await isHeld())) await clock.sleep(pollMs);
  await clock.sleep(settleMs);
}
