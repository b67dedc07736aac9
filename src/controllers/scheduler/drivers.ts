/**
 * What the scheduler takes for granted when nobody tells it more: every node runs processes, those
 * whose runtime version names it run Podman, and all but Podman pods share their node's network.
 */
import { processRuntimeClass, type Node, type Pod } from "../../api/index.ts";
import type { Drivers } from "../ports.ts";

const podmanRuntimeClass = "podman";

export const defaultDrivers: Drivers = {
  offers(node: Node, runtimeClassName: string | undefined) {
    if (runtimeClassName === undefined || runtimeClassName === processRuntimeClass) return true;
    if (runtimeClassName !== podmanRuntimeClass) return false;
    return node.status?.nodeInfo?.containerRuntimeVersion?.includes(podmanRuntimeClass) ?? false;
  },
  hostPorts(pod: Pod) {
    const shared = pod.spec.hostNetwork || pod.spec.runtimeClassName !== podmanRuntimeClass;
    const ports = pod.spec.containers.flatMap((container) => container.ports ?? []);
    return ports.flatMap(({ hostPort, containerPort, protocol = "TCP" }) => {
      const port = hostPort ?? (shared ? containerPort : undefined);
      return port === undefined ? [] : [`${port}/${protocol}`];
    });
  },
};
