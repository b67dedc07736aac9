/**
 * Host and path to a backend, as the Kubernetes Ingress API describes it: the most specific host
 * first, within it the longest path, prefixes by whole elements. A host whose paths do not match
 * leaves the request to the less specific ones. Pure.
 */
import type { HostRules, PathRule, RouteTable } from "./table.ts";

export interface RouteMatcher {
  /** Index into the table's backends; undefined when no rule and no default backend takes it. */
  match(host: string, path: string): number | undefined;
}

/** Prepares a table for many look-ups. */
export function createMatcher(table: RouteTable): RouteMatcher {
  const exactByHost = new Map(table.hosts.map((rules) => [rules.host, rules]));
  const wildcards = table.hosts.filter(({ host }) => host.startsWith("*."));
  const everyHost = exactByHost.get("");
  return {
    match(host, path) {
      const name = hostName(host);
      const candidates: (HostRules | undefined)[] = [
        name === "" ? undefined : exactByHost.get(name),
        ...wildcards.filter((rules) => wildcardMatches(rules.host, name)),
        everyHost,
      ];
      for (const rules of candidates) {
        const rule = rules?.paths.find((candidate) => pathMatches(candidate, path));
        if (rule) return rule.backend;
      }
      return table.defaultBackend;
    },
  };
}

/** Of a Host header: without its port, in lower case, without the root's dot. */
export function hostName(host: string): string {
  const bare = host.startsWith("[") ? host.replace(/\]:\d+$/, "]") : host.replace(/:\d*$/, "");
  return bare.toLowerCase().replace(/\.$/, "");
}

/** `*.example` stands for exactly one more label. */
function wildcardMatches(pattern: string, host: string): boolean {
  const suffix = pattern.slice(1);
  const label = host.slice(0, -suffix.length);
  return host.endsWith(suffix) && label !== "" && !label.includes(".");
}

function pathMatches({ type, path: rule }: PathRule, path: string): boolean {
  if (type === "Exact") return path === rule;
  return rule === "/" || path === rule || path.startsWith(`${rule}/`);
}
