/** What kinds with a pod template share: defaults, rules and the wide columns. */
import type { Column, FieldIssue } from "../kind.ts";
import type { KubeObject } from "../records/object.ts";
import { formatLabelSelector, matchesLabels } from "../values/label-selector.ts";
import { sameValue } from "../../lib/stable.ts";
import { defaultPodSpec, podSpecIssues, templateMetadataIssues } from "./pod-rules.ts";
import type { LabelSelector } from "./pod-placement.ts";
import type { PodSpec } from "./pod-spec.ts";

type Template = {
  metadata?: { labels?: Record<string, string>; annotations?: Record<string, string> };
  spec: PodSpec;
};
type Templated = KubeObject & { spec: { selector: LabelSelector; template: Template } };

export function defaultTemplate(template: Template): void {
  defaultPodSpec(template.spec);
}

export function templateIssues(object: Templated, previous?: Templated): FieldIssue[] {
  const { selector, template } = object.spec;
  const issues = [
    ...templateMetadataIssues(template.metadata, "spec.template.metadata"),
    ...podSpecIssues(template.spec, "spec.template.spec"),
  ];
  const terms =
    Object.keys(selector.matchLabels ?? {}).length + (selector.matchExpressions?.length ?? 0);
  if (terms === 0) {
    issues.push({ field: "spec.selector", message: "must select something" });
  } else if (!matchesLabels(selector, template.metadata?.labels ?? {})) {
    issues.push({
      field: "spec.template.metadata.labels",
      message: `must match spec.selector (${formatLabelSelector(selector)})`,
    });
  }
  if (template.spec.restartPolicy !== undefined && template.spec.restartPolicy !== "Always") {
    issues.push({
      field: "spec.template.spec.restartPolicy",
      message: `"${template.spec.restartPolicy}" is not allowed here, use Always`,
    });
  }
  if (previous && !sameValue(selector, previous.spec.selector)) {
    issues.push({
      field: "spec.selector",
      message: `may not change (it is ${formatLabelSelector(previous.spec.selector)})`,
    });
  }
  return issues;
}

export function workloadColumns<T extends Templated>(): Column<T>[] {
  return [
    {
      name: "Containers",
      type: "string",
      wide: true,
      description: "Names of the template's containers.",
      cell: ({ spec }) => spec.template.spec.containers.map(({ name }) => name).join(","),
    },
    {
      name: "Images",
      type: "string",
      wide: true,
      description: "Images of the template's containers.",
      cell: ({ spec }) => spec.template.spec.containers.map(({ image }) => image ?? "").join(","),
    },
    {
      name: "Selector",
      type: "string",
      wide: true,
      description: "Labels by which the pods are found.",
      cell: ({ spec }) => formatLabelSelector(spec.selector),
    },
  ];
}
