/** The power of a site: a shim under every process of each machine, cut and given back per machine. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../../lib/random.ts";
import { attachPower, type Power } from "../faults/power-cut.ts";
import type { Environment } from "../site/machines.ts";
import type { MachineName } from "../site/network.ts";
import type { Site } from "../site/site.ts";

export type SitePower = Disposable & {
  envOf(machine: MachineName): Environment;
  /**
   * Cuts the power of these machines at one moment, ends what still runs there, and leaves each disk
   * as it may be found. Throws `drill-step-failed` when a change went past the shim.
   */
  cut(site: Site, machines: readonly MachineName[], random: Random): Promise<void>;
};

/** Pods run without the shim: what they and their shells write need not survive, and is not known. */
const isOfPods = (path: string) => /^keeper\/(containers|spool)\//.test(path);

export function powerSite(options: {
  dir: string;
  machines: readonly MachineName[];
  shim: string;
}): SitePower {
  const powers = new Map<MachineName, Power>();
  for (const machine of options.machines) {
    const folder = join(options.dir, machine);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    powers.set(machine, attachPower({ folder, shim: options.shim, isForeign: isOfPods }));
  }
  return {
    // The observer's load and checkers have no disk here.
    envOf: (machine) => powers.get(machine)?.env ?? {},
    async cut(site, machines, random) {
      const cut = machines.flatMap((machine) => powers.get(machine) ?? []);
      for (const power of cut) power.cut();
      await Promise.all(machines.map((machine) => site.killNode(machine)));
      for (const power of cut) power.restore(random);
    },
    [Symbol.dispose]() {
      for (const power of powers.values()) power[Symbol.dispose]();
    },
  };
}
