/**
 * Where the drill itself runs. A process cannot leave its network, so that the command starts itself
 * once more as the observer's, stays outside as its guard, and removes the namespaces whatever
 * became of it.
 */
import { spawn } from "node:child_process";
import type { Socket } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import { exited } from "../../runtime/child/index.ts";
import { environment } from "../../runtime/process/index.ts";
import { machineNames } from "./site.ts";
import {
  makeNamespaces,
  openNamespaces,
  removeNamespaces,
  removeStaleNamespaces,
  withOwnMounts,
} from "./namespaces.ts";
import type { Network, Unavailable } from "./network.ts";

/** Tells the inner command the name of its site. */
const siteVariable = "SKERRY_DRILL_SITE";

export type Guarded = {
  readonly network: Network;
  /** Aborts when the guard is gone: nobody is left to stop this process, so it stops itself. */
  readonly signal: AbortSignal;
};

/** What the guard made for this process; undefined when this is no inner command. */
export function guardedBy(env: typeof environment): Guarded | undefined {
  const site = env[siteVariable];
  if (site === undefined) return undefined;
  const gone = new AbortController();
  // Held open by the guard for as long as it lives, and never written to.
  process.stdin.once("end", () => gone.abort("the guard is gone"));
  process.stdin.resume();
  (process.stdin as Partial<Socket>).unref?.();
  return { network: openNamespaces(site), signal: gone.signal };
}

/** Only the network, for what has no signal to stop by. */
export function networkOfGuard(env: typeof environment): Network | undefined {
  return guardedBy(env)?.network;
}

/** Runs this very command line on the observer and resolves with its exit code. */
export async function runAsObserver(deps: {
  clock: Clock;
  /** Passed on as one SIGINT. */
  signal: AbortSignal;
}): Promise<{ readonly state: "ended"; readonly code: number } | Unavailable> {
  const made = await makeNamespaces(machineNames, deps);
  if (made.state === "unavailable") return made;
  try {
    await removeStaleNamespaces(deps);
    const argv = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
    const [file = "", ...args] = openNamespaces(made.site).on("observer", [
      ...withOwnMounts,
      ...argv,
    ]);
    const child = spawn(file, args, {
      // In a group of its own: the terminal's Ctrl-C reaches it through the guard, once.
      detached: true,
      stdio: ["pipe", "inherit", "inherit"],
      env: { ...environment, [siteVariable]: made.site },
    });
    const stop = () => child.kill("SIGINT");
    if (deps.signal.aborted) stop();
    deps.signal.addEventListener("abort", stop, { once: true });
    const { code } = await exited(child);
    deps.signal.removeEventListener("abort", stop);
    return { state: "ended", code: code ?? 2 };
  } finally {
    await removeNamespaces(made.site, deps);
  }
}
