/**
 * CellAddress: an address that clients of the cell keep (a PLC, a browser, a camera), whichever node
 * holds it. The leader writes in `status.holder` whose it is; each node says by an annotation of its
 * own Node whether it could hold it. A kind of its own, because a Service of type LoadBalancer
 * promises a port for each selected pod: this is an address for the cell's own listeners.
 */
import * as z from "zod";
import type { FieldIssue } from "../kind.ts";
import { count, listOf, time } from "../schema/builders.ts";
import { conditionsSchema } from "./conditions.ts";
import { defineKind } from "./define.ts";
import { metadataSchema } from "./metadata.ts";
import type { Node } from "./node.ts";

const addressesMax = 4;

const cellAddressSchema = z.strictObject({
  apiVersion: z.literal("skerry.dev/v1alpha1"),
  kind: z.literal("CellAddress"),
  metadata: metadataSchema,
  spec: z.strictObject({
    /** `192.0.2.50/24`, `2001:db8::50/64`: the address and the length of its network's prefix. */
    addresses: listOf(z.string()),
    /** On every node; absent: the interface that has an address in the same network. */
    interface: z.string().optional(),
  }),
  status: z
    .strictObject({
      /** The node that may hold it now, as long as its lease lasts; absent: nobody. */
      holder: z.string(),
      since: time,
      /** Was told to go and cannot be asked: it may hold it until its lease has run out. */
      leaving: z.string(),
      /** How often it went from one node to another. */
      moves: count,
      conditions: conditionsSchema,
    })
    .partial()
    .optional(),
});
export type CellAddress = z.infer<typeof cellAddressSchema>;

export const cellAddressKind = defineKind<CellAddress>({
  group: "skerry.dev",
  version: "v1alpha1",
  kind: "CellAddress",
  plural: "celladdresses",
  namespaced: false,
  categories: ["skerry"],
  schema: cellAddressSchema,
  subresources: ["status"],
  ownColumns: [
    {
      name: "Addresses",
      type: "string",
      description: "What clients connect to.",
      cell: ({ spec }) => spec.addresses.join(","),
    },
    {
      name: "Holder",
      type: "string",
      description: "The node that answers for it.",
      cell: ({ status }) => status?.holder ?? "",
    },
    {
      name: "Moves",
      type: "integer",
      description: "How often it went to another node.",
      cell: ({ status }) => status?.moves ?? 0,
    },
    {
      name: "Interface",
      type: "string",
      wide: true,
      description: "Where it is given to; empty: the one in its network.",
      cell: ({ spec }) => spec.interface ?? "",
    },
  ],
  applyDefaults(object) {
    object.status ??= {};
  },
  validate({ spec }) {
    const issues: FieldIssue[] = [];
    const { addresses } = spec;
    if (addresses.length === 0 || addresses.length > addressesMax)
      issues.push({
        field: "spec.addresses",
        message: `${addresses.length} addresses: 1 to ${addressesMax} are allowed`,
      });
    for (const [index, text] of addresses.entries()) {
      const field = `spec.addresses[${index}]`;
      if (!isAddressInNetwork(text))
        issues.push({ field, message: `"${text}" must be like 192.0.2.50/24 or 2001:db8::50/64` });
      else if (addresses.indexOf(text) !== index)
        issues.push({ field, message: `"${text}" stands there twice` });
    }
    // As the kernel has it (IFNAMSIZ); it becomes an argument of a command.
    if (
      spec.interface !== undefined &&
      !/^[A-Za-z0-9_.:@][A-Za-z0-9_.:@-]{0,14}$/.test(spec.interface)
    )
      issues.push({
        field: "spec.interface",
        message: `"${spec.interface}" is no name of a network interface`,
      });
    return issues;
  },
});

/** An IP address with the length of its network's prefix. */
export function isAddressInNetwork(text: string): boolean {
  return z.union([z.cidrv4(), z.cidrv6()]).safeParse(text).success;
}

/** `192.0.2.50` of `192.0.2.50/24`. */
export function withoutPrefix(address: string): string {
  return address.slice(0, address.indexOf("/"));
}

const annotationPrefix = "address.skerry.dev/";

/** On a Node: whether it could hold the CellAddress of this name. */
export const cellAddressAnnotation = (name: string) => `${annotationPrefix}${name}`;

/** The annotation's value when it could; anything else is the reason why not, in words. */
export const canHoldAddress = "ready";

/** Undefined when it could hold it; else why not. */
export function whyNotHold(node: Node, name: string): string | undefined {
  const said = node.metadata.annotations?.[cellAddressAnnotation(name)];
  return said === canHoldAddress ? undefined : (said ?? "it has not said that it could");
}
