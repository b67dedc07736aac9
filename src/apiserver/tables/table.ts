/** Lists as kubectl shows them: `Table` (KEP 575), with columns from the kind. Pure. */
import type { Column, KindDefinition, KubeObject } from "../../api/index.ts";
import { formatDuration } from "../../lib/duration.ts";

export type TableOptions = {
  readonly version: "v1" | "v1beta1";
  readonly nowMs: number;
  /** How much of each object rides along with its row. */
  readonly include: "None" | "Metadata" | "Object";
};

export function tableOf(
  kind: KindDefinition,
  objects: readonly KubeObject[],
  metadata: Readonly<Record<string, unknown>>,
  options: TableOptions & { readonly withColumns?: boolean },
): unknown {
  return {
    kind: "Table",
    apiVersion: `meta.k8s.io/${options.version}`,
    metadata,
    columnDefinitions: options.withColumns === false ? [] : kind.columns.map(definitionOf),
    rows: objects.map((object) => rowOf(kind, object, options)),
  };
}

function definitionOf(column: Column<KubeObject>, index: number) {
  return {
    name: column.name,
    // Ages are told, not times: clients print cells as they are.
    type: column.type === "integer" ? "integer" : "string",
    format: index === 0 ? "name" : "",
    description: column.description,
    priority: column.wide ? 1 : 0,
  };
}

function rowOf(kind: KindDefinition, object: KubeObject, options: TableOptions) {
  const cells = kind.columns.map((column) => cellOf(column, object, options.nowMs));
  if (options.include === "None") return { cells };
  return { cells, object: options.include === "Object" ? object : partialMetadata(object) };
}

function cellOf(column: Column<KubeObject>, object: KubeObject, nowMs: number): string | number {
  const cell = column.cell(object, nowMs);
  if (column.type !== "date") return cell;
  const atMs = Date.parse(String(cell));
  return Number.isNaN(atMs) ? "<unknown>" : formatDuration(nowMs - atMs);
}

/** An object reduced to its metadata. */
export function partialMetadata(object: KubeObject): unknown {
  return {
    kind: "PartialObjectMetadata",
    apiVersion: "meta.k8s.io/v1",
    metadata: object.metadata,
  };
}
