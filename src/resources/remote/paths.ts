/** Where objects stand in the Kubernetes API, and how options are written in a query. */
import type { KindDefinition, ObjectKey } from "../../api/index.ts";
import type { ListOptions, WriteOptions } from "../resources.ts";

export function collectionPath(kind: KindDefinition, namespace: string | undefined): string {
  const root = kind.group === "" ? `/api/${kind.version}` : `/apis/${kind.group}/${kind.version}`;
  const scope = kind.namespaced && namespace ? `/namespaces/${encodeURIComponent(namespace)}` : "";
  return `${root}${scope}/${kind.plural}`;
}

export function objectPath(kind: KindDefinition, key: ObjectKey, subresource?: string): string {
  const base = `${collectionPath(kind, key.namespace)}/${encodeURIComponent(key.name)}`;
  return subresource === undefined ? base : `${base}/${subresource}`;
}

type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export function withQuery(path: string, query: Query): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    if (value !== undefined) parameters.set(name, String(value));
  const text = parameters.toString();
  return text === "" ? path : `${path}?${text}`;
}

export function listQuery(options: ListOptions): Query {
  return {
    labelSelector: options.labelSelector || undefined,
    fieldSelector: options.fieldSelector || undefined,
    limit: options.limit,
    continue: options.continueToken,
  };
}

const validationWords = { strict: "Strict", warn: "Warn", ignore: "Ignore" } as const;

export function writeQuery(options: WriteOptions): Query {
  return {
    fieldManager: options.fieldManager || undefined,
    fieldValidation: validationWords[options.fieldValidation ?? "strict"],
    dryRun: options.dryRun ? "All" : undefined,
  };
}
