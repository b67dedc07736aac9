/** Which machine is lost next, and that a loss takes something away: a pod that runs there. */
import { podKind } from "../../api/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Random } from "../../lib/random.ts";
import { echoPods, waitUntil, waitWhole, type Patience } from "../site/whole.ts";
import { cordon, type Stage } from "./stage.ts";

const patienceMs = 30_000;
/** Whoever is lost a third time is given longer, rightly, than what drills promise (M6). */
const lossesMax = 2;

/** A node that is no server. */
export async function nextVictim(
  stage: Stage,
  timesByNode: ReadonlyMap<string, number>,
): Promise<string> {
  const { site, dice } = stage;
  const [, ...workers] = site.nodes.map(({ node }) => node);
  const withPod = new Set((await echoPods(site)).flatMap(({ spec }) => spec.nodeName ?? []));
  return chooseVictim({ workers, withPod, timesByNode, dice });
}

/** Of those that run a pod the one that was lost least often; another where these had their share. */
export function chooseVictim({
  workers,
  withPod,
  timesByNode,
  dice,
}: {
  readonly workers: readonly string[];
  readonly withPod: ReadonlySet<string>;
  readonly timesByNode: ReadonlyMap<string, number>;
  readonly dice: Random;
}): string {
  const times = (node: string) => timesByNode.get(node) ?? 0;
  const running = workers.filter((node) => withPod.has(node) && times(node) < lossesMax);
  const candidates = running.length > 0 ? running : workers;
  const fewest = Math.min(...candidates.map(times));
  const least = candidates.filter((node) => times(node) === fewest).sort();
  const chosen = least[dice.integer(least.length)];
  if (chosen !== undefined) return chosen;
  throw new SkerryError({ code: "drill-step-failed", message: "every machine is a server" });
}

/**
 * So that the loss of the node takes a pod of the example away. Moves one there, as a person with kubectl
 * would. Throws `drill-step-failed` when none can be put there.
 */
export async function placePodOn(stage: Stage, node: string): Promise<void> {
  const { site, clock, signal, slowness, progress } = stage;
  const patience: Patience = { clock, signal, timeoutMs: patienceMs * slowness };
  const others = site.nodes.map((one) => one.node).filter((name) => name !== node);
  const ofExample = async () =>
    (await echoPods(site)).filter(({ metadata }) => metadata.name.startsWith("echo"));
  const pods = await ofExample();
  if (pods.some(({ spec }) => spec.nodeName === node)) return;
  const [moved] = pods;
  if (!moved) {
    throw new SkerryError({ code: "drill-step-failed", message: "the application has no pods" });
  }
  progress(`moving a pod to ${node}: its loss shall take one away`);
  for (const other of others) await cordon(site, other, true);
  await site.cluster.delete(podKind, moved.metadata);
  await waitUntil(
    `a pod on ${node}`,
    async () => {
      const there = (await ofExample()).some(({ spec }) => spec.nodeName === node);
      return there ? { found: undefined } : { missing: "none" };
    },
    patience,
  );
  for (const other of others) await cordon(site, other, false);
  await waitWhole(site, patience);
}
