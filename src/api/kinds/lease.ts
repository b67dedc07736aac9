/** Lease: who holds something and since when; nodes renew one as their heartbeat. */
import * as z from "zod";
import { count, time } from "../schema/builders.ts";
import { defineKind } from "./define.ts";
import { metadataSchema } from "./metadata.ts";

const leaseSchema = z.strictObject({
  apiVersion: z.literal("coordination.k8s.io/v1"),
  kind: z.literal("Lease"),
  metadata: metadataSchema,
  spec: z
    .strictObject({
      holderIdentity: z.string(),
      leaseDurationSeconds: count,
      acquireTime: time,
      renewTime: time,
      leaseTransitions: count,
      strategy: z.string(),
      preferredHolder: z.string(),
    })
    .partial()
    .optional(),
});
export type Lease = z.infer<typeof leaseSchema>;

export const leaseKind = defineKind<Lease>({
  group: "coordination.k8s.io",
  version: "v1",
  kind: "Lease",
  plural: "leases",
  schema: leaseSchema,
  ownColumns: [
    {
      name: "Holder",
      type: "string",
      description: "Who holds it.",
      cell: ({ spec }) => spec?.holderIdentity ?? "",
    },
  ],
});
