import { systemClock } from "../../src/runtime/clock/index.ts";
import { createProcessDriver, type InstanceSpec } from "../../src/workloads/index.ts";
import { createKeeperFolder } from "../support/keeper.ts";
import { driverContract } from "./driver.ts";

for (const cgroups of [true, false]) {
  driverContract(`process driver${cgroups ? "" : " without cgroups"}`, async () => {
    const folder = createKeeperFolder();
    const keeper = await folder.open({ flags: { cgroups } });
    const make = () => createProcessDriver({ clock: systemClock, host: keeper.processes });
    let next = 0;
    return {
      driver: make(),
      again: make,
      shell(script, more = {}): InstanceSpec {
        const owner = {
          podUid: `uid-${next++}`,
          namespace: "default",
          podName: "p",
          container: "main",
          attempt: 2,
          crashes: 1,
        };
        return {
          id: `${owner.podUid}_main_2`,
          owner,
          image: "host",
          argv: ["/bin/sh", "-c", script],
          env: { PATH: "/usr/bin:/bin", SKERRY_TEST: folder.dataDir },
          limits: {},
          graceMs: 1000,
          leased: false,
          ...more,
        };
      },
      [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
    };
  });
}
