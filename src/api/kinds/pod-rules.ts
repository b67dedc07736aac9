/** Defaults and rules of pod specifications, shared by pods and the templates that make them. */
import type { FieldIssue } from "../kind.ts";
import { dnsLabelProblem } from "../values/names.ts";
import { labelIssues } from "./metadata.ts";
import { parseQuantity } from "../values/quantity.ts";
import { partitionIssues } from "./pod-partition.ts";
import type { Container, PodSpec, Probe } from "./pod-spec.ts";

export function defaultPodSpec(spec: PodSpec): void {
  spec.restartPolicy ??= "Always";
  spec.terminationGracePeriodSeconds ??= 30;
  for (const container of [...(spec.containers ?? []), ...(spec.initContainers ?? [])]) {
    for (const entry of container.ports ?? []) entry.protocol ??= "TCP";
    for (const probe of probesOf(container)) {
      probe.periodSeconds ??= 10;
      probe.timeoutSeconds ??= 1;
      probe.successThreshold ??= 1;
      probe.failureThreshold ??= 3;
      if (probe.httpGet) {
        probe.httpGet.path ??= "/";
        probe.httpGet.scheme ??= "HTTP";
      }
    }
    // A limit without a request asks for the limit, as in Kubernetes.
    const resources = container.resources;
    if (resources?.limits) resources.requests = { ...resources.limits, ...resources.requests };
  }
}

export function probesOf(container: Container): Probe[] {
  return [container.livenessProbe, container.readinessProbe, container.startupProbe].filter(
    (probe) => probe !== undefined,
  );
}

export function podSpecIssues(spec: PodSpec, path: string): FieldIssue[] {
  const issues: FieldIssue[] = [];
  const volumes = new Set((spec.volumes ?? []).map((volume) => volume.name));
  issues.push(...repeated(spec.volumes ?? [], `${path}.volumes`));
  const groups = [
    ["containers", spec.containers],
    ["initContainers", spec.initContainers ?? []],
  ] as const;
  issues.push(
    ...repeated([...spec.containers, ...(spec.initContainers ?? [])], `${path}.containers`),
  );
  for (const [group, containers] of groups) {
    for (const [index, container] of containers.entries()) {
      issues.push(...containerIssues(container, `${path}.${group}[${index}]`, volumes));
    }
  }
  return issues;
}

function repeated(items: readonly { name: string }[], path: string): FieldIssue[] {
  const seen = new Set<string>();
  return items.flatMap(({ name }, index) => {
    if (seen.has(name))
      return [{ field: `${path}[${index}].name`, message: `"${name}" is there already` }];
    seen.add(name);
    return [];
  });
}

function containerIssues(
  container: Container,
  path: string,
  volumes: ReadonlySet<string>,
): FieldIssue[] {
  const issues: FieldIssue[] = [];
  const problem = dnsLabelProblem(container.name);
  if (problem) issues.push({ field: `${path}.name`, message: problem });
  if (!container.image) {
    issues.push({
      field: `${path}.image`,
      message: `is required ("host" runs a command of the host's own file system)`,
    });
  }
  for (const [index, mount] of (container.volumeMounts ?? []).entries()) {
    if (!volumes.has(mount.name)) {
      issues.push({
        field: `${path}.volumeMounts[${index}].name`,
        message: `"${mount.name}" is not among spec.volumes`,
      });
    }
  }
  for (const [index, entry] of (container.env ?? []).entries()) {
    if (entry.value && entry.valueFrom) {
      issues.push({
        field: `${path}.env[${index}].valueFrom`,
        message: `"${entry.name}" may have a value or a valueFrom, not both`,
      });
    }
  }
  for (const name of ["livenessProbe", "readinessProbe", "startupProbe"] as const) {
    const probe = container[name];
    if (!probe) continue;
    const handlers = [probe.exec, probe.httpGet, probe.tcpSocket, probe.grpc].filter(Boolean);
    if (handlers.length !== 1) {
      issues.push({
        field: `${path}.${name}`,
        message: `needs exactly one of exec, httpGet, tcpSocket, grpc; got ${handlers.length}`,
      });
    }
  }
  const { requests = {}, limits = {} } = container.resources ?? {};
  for (const [resource, limit] of Object.entries(limits)) {
    const request = requests[resource];
    if (request !== undefined && parseQuantity(request) > parseQuantity(limit)) {
      issues.push({
        field: `${path}.resources.requests.${resource}`,
        message: `${request} is above the limit of ${limit}`,
      });
    }
  }
  return issues;
}

/** Of templates, whose labels no other rule looks at. */
export function templateMetadataIssues(
  metadata: { labels?: Record<string, string>; annotations?: Record<string, string> } | undefined,
  path: string,
): FieldIssue[] {
  return [...labelIssues(metadata, path), ...partitionIssues(metadata, path)];
}
