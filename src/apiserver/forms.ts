/** The forms in which objects are answered: whole, as rows of a table, as metadata alone. */
import { apiVersionOf, type KindDefinition, type KubeObject } from "../api/index.ts";
import type { Clock } from "../lib/clock.ts";
import type { ListResult } from "../resources/index.ts";
import type { Exchange } from "./exchange.ts";
import { negotiateResource } from "./negotiation.ts";
import { badRequest, failure } from "./status.ts";
import { partialMetadata, tableOf, type TableOptions } from "./tables/table.ts";

export type Form =
  | { readonly form: "object" }
  | { readonly form: "metadata" }
  | ({ readonly form: "table" } & TableOptions);

/** Throws StatusError 406 when the client takes no JSON, 400 for an unknown `includeObject`. */
export function formOf(exchange: Pick<Exchange, "request" | "query">, clock: Clock): Form {
  const negotiated = negotiateResource(exchange.request.headers.accept);
  if (!negotiated) {
    throw failure(
      "NotAcceptable",
      "only application/json is spoken here, as an object, as=Table or as=PartialObjectMetadata",
    );
  }
  if (negotiated.form !== "table") return negotiated;
  const include = exchange.query.get("includeObject") || "Metadata";
  if (include !== "None" && include !== "Metadata" && include !== "Object") {
    throw badRequest(`includeObject: "${include}" is none of None, Metadata, Object`);
  }
  return { form: "table", version: negotiated.version, nowMs: clock.wallMs(), include };
}

export function objectBody(kind: KindDefinition, object: KubeObject, form: Form): unknown {
  switch (form.form) {
    case "object":
      return object;
    case "metadata":
      return partialMetadata(object);
    case "table": {
      const { resourceVersion } = object.metadata;
      return tableOf(kind, [object], { resourceVersion }, form);
    }
  }
}

/** A list of whole objects without its items. */
export function listHead(kind: KindDefinition, list: ListResult<KubeObject>) {
  const { resourceVersion, continueToken } = list;
  return {
    kind: `${kind.kind}List`,
    apiVersion: apiVersionOf(kind),
    metadata: {
      resourceVersion,
      ...(continueToken === undefined ? {} : { continue: continueToken }),
    },
  };
}

/** A list in any form but whole objects, which `encoded.ts` writes out. */
export function listBody(
  kind: KindDefinition,
  list: ListResult<KubeObject>,
  form: Exclude<Form, { form: "object" }>,
): unknown {
  const { metadata } = listHead(kind, list);
  switch (form.form) {
    case "metadata":
      return {
        kind: "PartialObjectMetadataList",
        apiVersion: "meta.k8s.io/v1",
        metadata,
        items: list.items.map(partialMetadata),
      };
    case "table":
      return tableOf(kind, list.items, metadata, form);
  }
}
