/** Weighs every long-lived process of the site at intervals, beside whatever else goes on. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { systemCode } from "../../lib/errors.ts";
import { every } from "../../lib/clock.ts";
import type { MachineName } from "../site/network.ts";
import { roleOf, weigh } from "./soak-sample.ts";
import type { SoakSample } from "./soak-verdict.ts";
import type { Stage } from "./stage.ts";

const intervalMs = 1000;

export type SoakWatch = Disposable & {
  /** Ends the watch. Throws what kept it from measuring. */
  finish(): readonly SoakSample[];
};

export function watchProcesses(
  { site, clock, since }: Pick<Stage, "site" | "clock" | "since">,
  machines: readonly MachineName[],
): SoakWatch {
  const samples: SoakSample[] = [];
  let failure: unknown;
  const look = () => {
    for (const machine of machines)
      for (const pid of site.processesOf(machine)) {
        const role = roleOf(pid);
        const weight = role === undefined || role === "shim" ? undefined : weigh(pid);
        // What was killed and is not yet collected weighs nothing.
        if (!weight || weight.pssBytes === 0) continue;
        const { anonymousBytes: ownBytes, fileHandles, threads } = weight;
        const place = role === "hub" ? "hub" : `${machine} ${role}`;
        samples.push({ atMs: since(), place, pid, ownBytes, fileHandles, threads });
      }
    return Promise.resolve();
  };
  const timer = every(clock, intervalMs, look, (error) => {
    failure ??= error;
  });
  return {
    [Symbol.dispose]: () => timer.cancel(),
    finish() {
      timer.cancel();
      if (failure !== undefined) throw failure;
      return samples;
    },
  };
}

/** Bytes by file, of all below these folders. */
export function filesBelow(folders: readonly string[]): Map<string, number> {
  const bytesByFile = new Map<string, number>();
  for (const folder of folders)
    for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      try {
        bytesByFile.set(path, statSync(path).size);
      } catch (error) {
        // Removed while we looked: it takes no room.
        if (systemCode(error) !== "ENOENT") throw error;
      }
    }
  return bytesByFile;
}
