/** Where a bench that loses machines runs. */
import { guardedBy, loopbackNetwork, runAsObserver } from "../../src/drill/index.ts";
import type { Network } from "../../src/drill/site/network.ts";
import { systemClock as clock } from "../../src/runtime/clock/index.ts";
import type { BenchOptions } from "./bench.ts";

/**
 * Machines of their own where this is root; this process goes on inside. Elsewhere 127.0.SUBNET.x, where
 * no link can be cut.
 */
export async function ownNetwork(
  { signal, progress }: BenchOptions,
  { subnet }: { readonly subnet: number },
): Promise<{ readonly network: Network; readonly signal: AbortSignal }> {
  const inner = guardedBy(process.env);
  if (inner) return { network: inner.network, signal: AbortSignal.any([inner.signal, signal]) };
  const outcome = await runAsObserver({ clock, signal });
  if (outcome.state === "ended") process.exit(outcome.code);
  progress(`${outcome.reason.message}: nodes are killed without cutting their links first`);
  return { network: loopbackNetwork(subnet), signal };
}
