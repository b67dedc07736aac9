/** What a pod asks for and what a node has, as numbers. Pure. */
import { parseMilliQuantity, parseQuantity, type Node, type Pod } from "../../api/index.ts";

/** By resource name: `cpu` in thousandths, everything else in its own unit. */
export type Amounts = Readonly<Record<string, number>>;

const amountOf = (resource: string, quantity: string | number): number =>
  resource === "cpu" ? parseMilliQuantity(quantity) : parseQuantity(quantity);

/** The sum of the containers, or the largest init container where that is more; `pods` is 1. */
export function requestsOf(pod: Pod): Amounts {
  const sum: Record<string, number> = {};
  for (const { resources } of pod.spec.containers) {
    for (const [resource, quantity] of Object.entries(resources?.requests ?? {}))
      sum[resource] = (sum[resource] ?? 0) + amountOf(resource, quantity);
  }
  for (const { resources } of pod.spec.initContainers ?? []) {
    for (const [resource, quantity] of Object.entries(resources?.requests ?? {}))
      sum[resource] = Math.max(sum[resource] ?? 0, amountOf(resource, quantity));
  }
  return { ...sum, pods: 1 };
}

/** Kubernetes' default when a node does not say. */
const podsMax = 110;

export function allocatableOf(node: Node): Amounts {
  const given = node.status?.allocatable ?? node.status?.capacity ?? {};
  const amounts: Record<string, number> = { pods: podsMax };
  for (const [resource, quantity] of Object.entries(given))
    amounts[resource] = amountOf(resource, quantity);
  return amounts;
}

/** `"250m"`, `"1.5Gi"`: as people write it. */
export function showAmount(resource: string, amount: number): string {
  if (resource === "cpu") return amount % 1000 === 0 ? String(amount / 1000) : `${amount}m`;
  if (resource === "memory" || resource.includes("storage")) {
    const mebibytes = amount / 2 ** 20;
    return mebibytes >= 1024
      ? `${Number((mebibytes / 1024).toFixed(1))}Gi`
      : `${Number(mebibytes.toFixed(1))}Mi`;
  }
  return String(amount);
}
