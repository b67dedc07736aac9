/** The probes of a pod: of each instance that runs, from what was known of it before. */
import type { Container, PodStatus } from "../../api/index.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Driver, Instance } from "../driver.ts";
import { initDone, latestOf, statusByName, type ContainerNotes, type PodView } from "./plan.ts";
import { startProber, type Prober } from "./prober.ts";
import { idOf } from "./status.ts";

type Probed = NonNullable<ContainerNotes["probed"]>;

export interface PodProbes {
  /** Begins and ends probes so that exactly what runs is probed. */
  follow(now: PodView): void;
  stop(): void;
}

export function createPodProbes(
  deps: { readonly clock: Clock; readonly log: Log; readonly driver: Driver },
  options: {
    readonly address: string;
    /** As an earlier agent reported it. */
    readonly found: PodStatus | undefined;
    readonly onBegin: (container: string, probed: Probed) => void;
    readonly onVerdict: (container: string, probed: Probed) => void;
  },
): PodProbes {
  const { driver, log } = deps;
  const probersByInstance = new Map<string, Prober>();

  const begin = (container: Container, instance: Instance, startedMs: number) => {
    const reported = statusByName(options.found, container.name);
    const same = reported?.containerID === idOf(instance, driver.name);
    const prober = startProber(deps, {
      container,
      instance: instance.id,
      startedMs,
      address: options.address,
      known: same
        ? { started: reported?.started ?? false, ready: reported?.ready ?? false }
        : undefined,
      onVerdict(verdict) {
        if (verdict.unhealthy) log.warn(verdict.unhealthy, { container: container.name });
        options.onVerdict(container.name, { instance: instance.id, ...verdict });
      },
    });
    probersByInstance.set(instance.id, prober);
    options.onBegin(container.name, { instance: instance.id, ...prober.verdict });
  };

  return {
    follow(now) {
      const wanted = new Set<string>();
      const containers = initDone(now) && !now.removed ? now.pod.spec.containers : [];
      for (const container of containers) {
        const instance = latestOf(now.instances, container.name);
        if (instance?.current.state !== "running") continue;
        wanted.add(instance.id);
        if (!probersByInstance.has(instance.id))
          begin(container, instance, instance.current.startedMs);
      }
      for (const [id, prober] of probersByInstance) {
        if (wanted.has(id)) continue;
        prober.stop();
        probersByInstance.delete(id);
      }
    },
    stop() {
      for (const prober of probersByInstance.values()) prober.stop();
    },
  };
}
