/** The kinds by where they stand in URLs and in manifests. */
import { apiVersionOf, type KindDefinition } from "../api/index.ts";

export type GroupVersion = {
  readonly group: string;
  readonly version: string;
  /** `apps/v1` or `v1`. */
  readonly apiVersion: string;
  /** `/apis/apps/v1` or `/api/v1`. */
  readonly path: string;
  readonly kinds: readonly KindDefinition[];
};

export type KindIndex = {
  readonly kinds: readonly KindDefinition[];
  readonly groupVersions: readonly GroupVersion[];
  byPath(group: string, version: string, plural: string): KindDefinition | undefined;
  byType(apiVersion: string, kind: string): KindDefinition | undefined;
};

/** Groups that hold no stored kind but virtual ones: reviews and evictions (`virtual.ts`). */
const virtualGroupVersions = [
  { group: "authentication.k8s.io", version: "v1" },
  { group: "authorization.k8s.io", version: "v1" },
  // `kubectl drain` evicts only where it sees this group, and else deletes.
  { group: "policy", version: "v1" },
];

export function createKindIndex(kinds: readonly KindDefinition[]): KindIndex {
  const byPath = new Map(
    kinds.map((kind) => [`${kind.group}/${kind.version}/${kind.plural}`, kind]),
  );
  const byType = new Map(kinds.map((kind) => [`${apiVersionOf(kind)}/${kind.kind}`, kind]));
  const known = new Map<string, { group: string; version: string }>();
  for (const { group, version } of [
    { group: "", version: "v1" },
    ...kinds,
    ...virtualGroupVersions,
  ]) {
    known.set(`${group}/${version}`, { group, version });
  }
  const groupVersions = [...known.values()].map(({ group, version }) => ({
    group,
    version,
    apiVersion: apiVersionOf({ group, version }),
    path: group === "" ? `/api/${version}` : `/apis/${group}/${version}`,
    kinds: kinds.filter((kind) => kind.group === group && kind.version === version),
  }));
  return {
    kinds,
    groupVersions,
    byPath: (group, version, plural) => byPath.get(`${group}/${version}/${plural}`),
    byType: (apiVersion, kind) => byType.get(`${apiVersion}/${kind}`),
  };
}
