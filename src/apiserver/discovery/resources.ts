/** What each kind looks like in discovery: its resource, its subresources and their verbs. Pure. */
import { apiVersionOf, type KindDefinition } from "../../api/index.ts";
import { virtualResources } from "../virtual-resources.ts";
import type { GroupVersion } from "../kind-index.ts";

export type DiscoveredResource = {
  /** `deployments` or `deployments/scale`. */
  readonly name: string;
  readonly singularName: string;
  readonly namespaced: boolean;
  /** What the resource answers with, when that is of another group and version. */
  readonly type: { readonly group: string; readonly version: string; readonly kind: string };
  readonly verbs: readonly string[];
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
};

const objectVerbs = [
  "create",
  "delete",
  "deletecollection",
  "get",
  "list",
  "patch",
  "update",
  "watch",
];

const typeBySubresource = {
  status: undefined,
  scale: { group: "autoscaling", version: "v1", kind: "Scale" },
  log: undefined,
  eviction: { group: "policy", version: "v1", kind: "Eviction" },
} as const;

const verbsBySubresource = {
  status: ["get", "patch", "update"],
  scale: ["get", "patch", "update"],
  log: ["get"],
  eviction: ["create"],
} as const;

export function resourcesOf(groupVersion: GroupVersion): readonly DiscoveredResource[] {
  const { group, version } = groupVersion;
  const virtual = virtualResources
    .filter((resource) => apiVersionOf(resource) === groupVersion.apiVersion)
    .map((resource) => ({
      name: resource.plural,
      singularName: resource.kind.toLowerCase(),
      namespaced: false,
      type: { group, version, kind: resource.kind },
      verbs: ["create"],
      shortNames: [],
      categories: [],
    }));
  return [...groupVersion.kinds.flatMap(resourcesOfKind), ...virtual];
}

function resourcesOfKind(kind: KindDefinition): readonly DiscoveredResource[] {
  const type = { group: kind.group, version: kind.version, kind: kind.kind };
  return [
    {
      name: kind.plural,
      singularName: kind.singular,
      namespaced: kind.namespaced,
      type,
      verbs: objectVerbs,
      shortNames: kind.shortNames,
      categories: kind.categories,
    },
    ...kind.subresources.map((subresource) => ({
      name: `${kind.plural}/${subresource}`,
      singularName: "",
      namespaced: kind.namespaced,
      type: typeBySubresource[subresource] ?? type,
      verbs: verbsBySubresource[subresource],
      shortNames: [],
      categories: [],
    })),
  ];
}
