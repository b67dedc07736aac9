/** The documents of discovery, plain and aggregated (kubernetes/enhancements, KEP 3352). Pure. */
import type { GroupVersion, KindIndex } from "../kind-index.ts";
import { resourcesOf, type DiscoveredResource } from "./resources.ts";

/** `/api` */
export function coreVersions(): unknown {
  return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] };
}

/** `/apis` */
export function groupList(index: KindIndex): unknown {
  return {
    kind: "APIGroupList",
    apiVersion: "v1",
    groups: groupsOf(index, (group) => group !== "").map(({ group, versions }) =>
      groupDocument(group, versions),
    ),
  };
}

/** `/apis/GROUP`; undefined when nobody knows it. */
export function groupOf(index: KindIndex, group: string): unknown {
  const found = groupsOf(index, (name) => name === group && name !== "")[0];
  return found && { kind: "APIGroup", apiVersion: "v1", ...groupDocument(group, found.versions) };
}

/** `/api/v1` and `/apis/GROUP/VERSION`. */
export function resourceList(groupVersion: GroupVersion): unknown {
  return {
    kind: "APIResourceList",
    apiVersion: "v1",
    groupVersion: groupVersion.apiVersion,
    resources: resourcesOf(groupVersion).map((resource) => ({
      name: resource.name,
      singularName: resource.singularName,
      namespaced: resource.namespaced,
      kind: resource.type.kind,
      ...foreignType(resource, groupVersion),
      verbs: resource.verbs,
      ...(resource.shortNames.length > 0 ? { shortNames: resource.shortNames } : {}),
      ...(resource.categories.length > 0 ? { categories: resource.categories } : {}),
    })),
  };
}

/** All of `/api` or all of `/apis` in one document, in the version asked for. */
export function aggregated(index: KindIndex, root: "/api" | "/apis", version: string): unknown {
  const isCore = root === "/api";
  return {
    kind: "APIGroupDiscoveryList",
    apiVersion: `apidiscovery.k8s.io/${version}`,
    metadata: {},
    items: groupsOf(index, (group) => (group === "") === isCore).map(({ group, versions }) => ({
      metadata: { name: group },
      versions: versions.map((groupVersion) => ({
        version: groupVersion.version,
        freshness: "Current",
        resources: aggregatedResources(groupVersion),
      })),
    })),
  };
}

function aggregatedResources(groupVersion: GroupVersion): unknown[] {
  const all = resourcesOf(groupVersion);
  return all
    .filter(({ name }) => !name.includes("/"))
    .map((resource) => ({
      resource: resource.name,
      responseKind: resource.type,
      scope: resource.namespaced ? "Namespaced" : "Cluster",
      singularResource: resource.singularName,
      verbs: resource.verbs,
      shortNames: resource.shortNames,
      categories: resource.categories,
      subresources: all
        .filter(({ name }) => name.startsWith(`${resource.name}/`))
        .map((below) => ({
          subresource: below.name.slice(resource.name.length + 1),
          responseKind: below.type,
          verbs: below.verbs,
        })),
    }));
}

function groupDocument(group: string, versions: readonly GroupVersion[]) {
  const listed = versions.map(({ apiVersion, version }) => ({ groupVersion: apiVersion, version }));
  return { name: group, versions: listed, preferredVersion: listed[0] };
}

function groupsOf(index: KindIndex, wanted: (group: string) => boolean) {
  const versionsByGroup = Map.groupBy(
    index.groupVersions.filter(({ group }) => wanted(group)),
    ({ group }) => group,
  );
  return [...versionsByGroup].map(([group, versions]) => ({ group, versions }));
}

function foreignType(resource: DiscoveredResource, groupVersion: GroupVersion) {
  const { group, version } = resource.type;
  return group === groupVersion.group && version === groupVersion.version ? {} : { group, version };
}
