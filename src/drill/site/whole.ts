/** Whether the cell is as it should be, asked of its API: nodes ready, and as many pods as wanted. */
import { conditionIsTrue, deploymentKind, nodeKind, podKind, type Pod } from "../../api/index.ts";
import type { CellStatus } from "../../api/index.ts";
import type { Clock } from "../../lib/clock.ts";
import { explain, SkerryError } from "../../lib/errors.ts";
import type { Site } from "./site.ts";

export type Patience = {
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
};

const pollMs = 200;

/** Asks until `look` answers with something. Throws `drill-step-failed` with what was missing. */
export async function waitUntil<T>(
  what: string,
  look: () => Promise<{ readonly found: T } | { readonly missing: string }>,
  { clock, timeoutMs, signal }: Patience,
): Promise<T> {
  const giveUpMs = clock.monotonicMs() + timeoutMs;
  for (;;) {
    const seen = await look().catch((error: unknown) => ({ missing: explain(error) }));
    if ("found" in seen) return seen.found;
    if (clock.monotonicMs() > giveUpMs) {
      throw new SkerryError({
        code: "drill-step-failed",
        message: `${what}: not within ${timeoutMs} ms: ${seen.missing}`,
      });
    }
    await clock.sleep(pollMs, { signal });
  }
}

/** Pods of the application that are not on their way out. */
export async function echoPods(site: Site): Promise<readonly Pod[]> {
  const pods = await site.cluster.list(podKind, { namespace: "default" });
  return pods.filter(
    ({ metadata, status }) =>
      metadata.deletionTimestamp === undefined &&
      status?.phase !== "Failed" &&
      status?.phase !== "Succeeded",
  );
}

export const isReady = ({ status }: Pod) => conditionIsTrue(status?.conditions, "Ready");

/**
 * Every node is ready, and every Deployment has exactly the pods it wants, all ready. Throws
 * `drill-step-failed` when that does not come about.
 */
export function waitWhole(site: Site, patience: Patience): Promise<void> {
  return waitUntil(
    "the cell whole",
    async () => {
      const missing = await whatIsMissing(site);
      return missing === undefined ? { found: undefined } : { missing };
    },
    patience,
  );
}

/** How many pods there are too many or too few, once that has settled or patience is over. */
export async function podsOffAfter(site: Site, patience: Patience): Promise<number> {
  try {
    await waitWhole(site, patience);
    return 0;
  } catch (error) {
    if (patience.signal.aborted) throw error;
    const [pods, wanted] = [await echoPods(site), await wantedPods(site)];
    return Math.max(1, Math.abs(pods.length - wanted));
  }
}

async function whatIsMissing(site: Site): Promise<string | undefined> {
  const nodes = await site.cluster.list(nodeKind);
  const away = nodes.filter(({ status }) => !conditionIsTrue(status?.conditions, "Ready"));
  if (away.length > 0) return `${away.map(({ metadata }) => metadata.name).join(", ")} not ready`;
  const [pods, wanted] = [await echoPods(site), await wantedPods(site)];
  const ready = pods.filter(isReady).length;
  return pods.length === wanted && ready === wanted
    ? undefined
    : `${wanted} pods wanted, ${pods.length} there, ${ready} ready`;
}

export async function wantedPods(site: Site): Promise<number> {
  const deployments = await site.cluster.list(deploymentKind, { namespace: "default" });
  return deployments.reduce((sum, { spec }) => sum + (spec.replicas ?? 1), 0);
}

/**
 * Pids of the containers by their pod's uid, of the pods on `nodes`, from what each of these nodes says
 * of itself when `from` asks it: of a node that does not answer nothing is known, and nothing must
 * not compare equal to nothing.
 */
export function podProcesses(
  site: Site,
  {
    from,
    nodes,
    of,
    ...patience
  }: Patience & { from: string; nodes: readonly string[]; /** Names begin so. */ of?: string },
): Promise<Map<string, string>> {
  return waitUntil<Map<string, string>>(
    "pids of the pods",
    async () => {
      const status = await site.skerry<CellStatus>(from, ["status"]);
      const reports = status.nodes.filter(({ name }) => nodes.includes(name));
      const silent = reports.filter(({ report }) => report === undefined);
      const pods = reports
        .flatMap(({ report }) => report?.pods ?? [])
        .filter(({ namespace, name }) => namespace === "default" && name.startsWith(of ?? ""));
      const without = pods.filter(({ pids }) => Object.keys(pids).length === 0);
      if (pods.length > 0 && silent.length === 0 && without.length === 0)
        return { found: new Map(pods.map((pod) => [pod.uid, JSON.stringify(pod.pids)])) };
      const missing = [...silent, ...without].map(({ name }) => name).join(", ");
      return { missing: `${from} knows ${pods.length} pods; nothing of ${missing || "any"}` };
    },
    patience,
  );
}
