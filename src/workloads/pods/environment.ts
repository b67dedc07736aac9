/** A container's environment: what the node gives, `envFrom`, then `env` in its order. */
import type { Container, EnvVar, Pod } from "../../api/index.ts";
import type { ConfigMapSource } from "../ports.ts";
import { expand } from "./expansion.ts";

/** `final`: only another specification helps; else it is tried again. */
export type Refusal = {
  readonly reason: string;
  readonly message: string;
  readonly final: boolean;
};

export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly refusal: Refusal };

export const refuse = (reason: string, message: string, final: boolean) =>
  ({ ok: false, refusal: { reason, message, final } }) as const;

const configError = "CreateContainerConfigError";

export type NodeFacts = { readonly name: string; readonly address: string };

/** Later ones win: `base` of the node, then the container's own. */
export async function resolveEnvironment(
  deps: { configMaps: ConfigMapSource },
  pod: Pod,
  container: Container,
  options: { node: NodeFacts; base: Readonly<Record<string, string>> },
): Promise<Outcome<Record<string, string>>> {
  const variables: Record<string, string> = { ...options.base };
  const namespace = pod.metadata.namespace ?? "default";
  const dataByName = new Map<string, Readonly<Record<string, string>> | undefined>();
  const configMap = async (name: string) => {
    if (!dataByName.has(name)) dataByName.set(name, await deps.configMaps.data(namespace, name));
    return dataByName.get(name);
  };

  for (const source of container.envFrom ?? []) {
    if (source.secretRef) return noSecrets(`secret ${source.secretRef.name ?? ""} in envFrom`);
    const { name = "", optional } = source.configMapRef ?? {};
    const data = await configMap(name);
    if (!data && optional) continue;
    if (!data) return refuse(configError, `configmap "${name}" not found`, false);
    for (const [key, value] of Object.entries(data)) {
      variables[`${source.prefix ?? ""}${key}`] = value;
    }
  }
  for (const entry of container.env ?? []) {
    const found = await valueOf(entry);
    if (!found.ok) return found;
    if (found.value !== undefined) variables[entry.name] = found.value;
  }
  return { ok: true, value: variables };

  async function valueOf(entry: EnvVar): Promise<Outcome<string | undefined>> {
    const from = entry.valueFrom;
    if (!from) return { ok: true, value: expand(entry.value ?? "", variables) };
    if (from.secretKeyRef) return noSecrets(`env ${entry.name}: secretKeyRef`);
    if (from.configMapKeyRef) {
      const { name = "", key, optional } = from.configMapKeyRef;
      const value = (await configMap(name))?.[key];
      if (value !== undefined || optional) return { ok: true, value };
      const what = dataByName.get(name)
        ? `couldn't find key "${key}" in configmap "${name}"`
        : `configmap "${name}" not found`;
      return refuse(configError, `env ${entry.name}: ${what}`, false);
    }
    const path = from.fieldRef?.fieldPath;
    const value = path === undefined ? undefined : fieldOf(pod, options.node, path);
    if (value !== undefined) return { ok: true, value };
    const named = path === undefined ? "resourceFieldRef" : `fieldPath "${path}"`;
    return refuse(
      configError,
      `env ${entry.name}: ${named} is not supported; use metadata.name, metadata.namespace, metadata.uid, metadata.labels['KEY'], metadata.annotations['KEY'], spec.nodeName, spec.serviceAccountName, status.podIP or status.hostIP`,
      true,
    );
  }
}

const noSecrets = (what: string) =>
  refuse(configError, `${what}: secrets are not served by this version`, true);

function fieldOf(pod: Pod, node: NodeFacts, path: string): string | undefined {
  const keyed = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(path);
  if (keyed) {
    return pod.metadata[keyed[1] === "labels" ? "labels" : "annotations"]?.[keyed[2] ?? ""] ?? "";
  }
  switch (path) {
    case "metadata.name":
      return pod.metadata.name;
    case "metadata.namespace":
      return pod.metadata.namespace ?? "default";
    case "metadata.uid":
      return pod.metadata.uid ?? "";
    case "spec.nodeName":
      return node.name;
    case "spec.serviceAccountName":
      return pod.spec.serviceAccountName ?? "default";
    case "status.podIP":
    case "status.podIPs":
    case "status.hostIP":
    case "status.hostIPs":
      return node.address;
    default:
      return undefined;
  }
}
