/** Weighs every long-lived process of the site at intervals, with and without its garbage, beside whatever else goes on. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { systemCode } from "../../lib/errors.ts";
import { every } from "../../lib/clock.ts";
import type { MachineName } from "../site/network.ts";
import { collectGarbage, state } from "./soak-collect.ts";
import { roleOf, weigh } from "./soak-sample.ts";
import type { HeldSample, SoakSample } from "./soak-verdict.ts";
import type { Stage } from "./stage.ts";

const intervalMs = 1000;
/** What a process holds is looked at less often: a full collection is work. */
const heldIntervalMs = 15_000;

export type SoakWatch = Disposable & {
  /** Ends the watch. Throws what kept it from measuring. */
  finish(): { readonly samples: readonly SoakSample[]; readonly held: readonly HeldSample[] };
};

type Found = { readonly machine: MachineName; readonly place: string; readonly pid: number };

export function watchProcesses(
  stage: Pick<Stage, "site" | "clock" | "since" | "network" | "signal">,
  machines: readonly MachineName[],
): SoakWatch {
  const { site, clock, since } = stage;
  const samples: SoakSample[] = [];
  const held: HeldSample[] = [];
  let failure: unknown;
  const onFailure = (error: unknown) => {
    failure ??= error;
  };
  const found = (): Found[] =>
    machines.flatMap((machine) =>
      site.processesOf(machine).flatMap((pid) => {
        const role = roleOf(pid);
        if (role === undefined || role === "shim") return [];
        return [{ machine, place: role === "hub" ? "hub" : `${machine} ${role}`, pid }];
      }),
    );
  const look = () => {
    for (const { place, pid } of found()) {
      const weight = weigh(pid);
      // What was killed and is not yet collected weighs nothing.
      if (!weight || weight.pssBytes === 0) continue;
      const { anonymousBytes: ownBytes, fileHandles, threads } = weight;
      samples.push({ atMs: since(), place, pid, ownBytes, fileHandles, threads });
    }
    return Promise.resolve();
  };
  /** One after the other: a collection here shall not slow down another one's answers too. */
  const lookWithoutGarbage = async () => {
    for (const { machine, place, pid } of found()) {
      if (state(pid) !== "running") continue;
      const alive = await collectGarbage(machine, pid, stage);
      const weight = alive && weigh(pid);
      if (!alive || !weight || weight.pssBytes === 0) continue;
      held.push({ atMs: since(), place, pid, ownBytes: weight.anonymousBytes, ...alive });
    }
  };
  const timers = [
    every(clock, intervalMs, look, onFailure),
    every(clock, heldIntervalMs, lookWithoutGarbage, onFailure),
  ];
  const stop = () => {
    for (const timer of timers) timer.cancel();
  };
  return {
    [Symbol.dispose]: stop,
    finish() {
      stop();
      if (failure !== undefined) throw failure;
      return { samples, held };
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
