/** Endpoints: the addresses behind a service; written by the endpoints controller. */
import * as z from "zod";
import { listOf, port, protocol } from "../schema/builders.ts";
import { defineKind } from "./define.ts";
import { metadataSchema } from "./metadata.ts";

const addressSchema = z.strictObject({
  ip: z.string(),
  hostname: z.string().optional(),
  nodeName: z.string().optional(),
  targetRef: z
    .strictObject({
      apiVersion: z.string(),
      kind: z.string(),
      namespace: z.string(),
      name: z.string(),
      uid: z.string(),
      resourceVersion: z.string(),
      fieldPath: z.string(),
    })
    .partial()
    .optional(),
});
export type EndpointAddress = z.infer<typeof addressSchema>;

const subsetSchema = z
  .strictObject({
    addresses: listOf(addressSchema),
    notReadyAddresses: listOf(addressSchema),
    ports: listOf(
      z.strictObject({
        name: z.string().optional(),
        port,
        protocol: protocol.optional(),
        appProtocol: z.string().optional(),
      }),
    ),
  })
  .partial();
export type EndpointSubset = z.infer<typeof subsetSchema>;

const endpointsSchema = z.strictObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Endpoints"),
  metadata: metadataSchema,
  subsets: listOf(subsetSchema).optional(),
});
export type Endpoints = z.infer<typeof endpointsSchema>;

const shownMax = 3;

export const endpointsKind = defineKind<Endpoints>({
  version: "v1",
  kind: "Endpoints",
  plural: "endpoints",
  shortNames: ["ep"],
  schema: endpointsSchema,
  ownColumns: [
    {
      name: "Endpoints",
      type: "string",
      description: "Addresses and ports of ready pods.",
      cell: ({ subsets }) => {
        const all = (subsets ?? []).flatMap(({ addresses = [], ports = [] }) =>
          addresses.flatMap(({ ip }) =>
            ports.length === 0 ? [ip] : ports.map((entry) => `${ip}:${entry.port}`),
          ),
        );
        if (all.length === 0) return "<none>";
        const shown = all.slice(0, shownMax).join(",");
        return all.length > shownMax ? `${shown} + ${all.length - shownMax} more...` : shown;
      },
    },
  ],
  applyDefaults({ subsets }) {
    for (const subset of subsets ?? [])
      for (const entry of subset.ports ?? []) entry.protocol ??= "TCP";
  },
});
