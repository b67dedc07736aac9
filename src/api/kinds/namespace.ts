/** Namespace: a scope for names. */
import * as z from "zod";
import { setOf } from "../schema/builders.ts";
import { dnsLabelProblem } from "../values/names.ts";
import { conditionsSchema } from "./conditions.ts";
import { defineKind } from "./define.ts";
import { metadataSchema } from "./metadata.ts";
import { builtInNamespaces, namespaceFinalizer } from "./well-known.ts";

const namespaceSchema = z.strictObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Namespace"),
  metadata: metadataSchema,
  spec: z
    .strictObject({ finalizers: setOf(z.string()) })
    .partial()
    .optional(),
  status: z
    .strictObject({ phase: z.enum(["Active", "Terminating"]), conditions: conditionsSchema })
    .partial()
    .optional(),
});
export type Namespace = z.infer<typeof namespaceSchema>;

export const namespaceKind = defineKind<Namespace>({
  version: "v1",
  kind: "Namespace",
  plural: "namespaces",
  shortNames: ["ns"],
  namespaced: false,
  schema: namespaceSchema,
  subresources: ["status"],
  nameProblem: dnsLabelProblem,
  finalizersAtDelete: [namespaceFinalizer],
  undeletable: builtInNamespaces,
  ownColumns: [
    {
      name: "Status",
      type: "string",
      description: "Active, or Terminating while its objects go.",
      cell: (namespace) =>
        namespace.metadata.deletionTimestamp
          ? "Terminating"
          : (namespace.status?.phase ?? "Active"),
    },
  ],
  fieldValues: (namespace) => ({ "status.phase": namespace.status?.phase ?? "Active" }),
  applyDefaults(namespace) {
    namespace.status ??= {};
    namespace.status.phase ??= "Active";
    // kubectl and others find a namespace by this label (KEP-2161).
    namespace.metadata.labels ??= {};
    namespace.metadata.labels["kubernetes.io/metadata.name"] = namespace.metadata.name;
  },
});
