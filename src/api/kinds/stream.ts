/**
 * Stream: an append-only sequence of entries, how far a write must reach, how long it is kept, and
 * which fields may leave the cell. Without `egress` nothing leaves (DESIGN rule P).
 */
import * as z from "zod";
import { formatBytes, parseBytes, parseDurationMs } from "../../lib/duration.ts";
import type { FieldIssue } from "../kind.ts";
import { parseDurabilityLevel } from "../records/entry.ts";
import { topicFilterProblem } from "../records/topic-filter.ts";
import { count, integer, listOf } from "../schema/builders.ts";
import { egressSchema, egressText } from "../schema/egress.ts";
import { conditionsSchema } from "./conditions.ts";
import { defineKind } from "./define.ts";
import { metadataSchema } from "./metadata.ts";

export type StreamEgress = z.infer<typeof egressSchema>;

const streamSchema = z.strictObject({
  apiVersion: z.literal("skerry.dev/v1alpha1"),
  kind: z.literal("Stream"),
  metadata: metadataSchema,
  spec: z
    .strictObject({
      description: z.string(),
      /** `memory`, `local`, `peer(k)` or `hub`; `local` when absent. */
      durability: z.string(),
      retention: z
        .strictObject({
          maxAge: z.string(),
          /** What its entries take on disk; an old part goes as a whole. */
          maxBytes: z.string(),
          /** A full disk refuses new entries, or drops the oldest of the lowest `priority`. */
          whenFull: z.enum(["refuse", "drop"]),
        })
        .partial(),
      egress: egressSchema,
      /**
       * Towards the hub the higher goes first; of streams that say `whenFull: drop`, the lower loses
       * entries first. 0 when absent.
       */
      priority: integer,
      /** What each node may send of it to the hub, compressed; without end when absent. */
      hubBudget: z.strictObject({ bytesPerSecond: z.string(), bytesPerDay: z.string() }).partial(),
      /** Topic filters; a level `{NAME}` matches as `+` and becomes a field of the entry. */
      mqtt: z.strictObject({ topics: listOf(z.string()) }),
    })
    .partial()
    .optional(),
  status: z
    .strictObject({
      entries: count,
      bytes: count,
      oldest: z.string(),
      newest: z.string(),
      backlog: count,
      observedGeneration: count,
      conditions: conditionsSchema,
    })
    .partial()
    .optional(),
});
export type Stream = z.infer<typeof streamSchema>;

export const streamKind = defineKind<Stream>({
  group: "skerry.dev",
  version: "v1alpha1",
  kind: "Stream",
  plural: "streams",
  namespaced: false,
  categories: ["skerry"],
  schema: streamSchema,
  subresources: ["status"],
  ownColumns: [
    {
      name: "Durability",
      type: "string",
      description: "How far a write must reach.",
      cell: ({ spec }) => spec?.durability ?? "local",
    },
    {
      name: "Entries",
      type: "integer",
      description: "Entries kept.",
      cell: ({ status }) => status?.entries ?? 0,
    },
    {
      name: "Size",
      type: "string",
      description: "Bytes kept.",
      cell: ({ status }) => formatBytes(status?.bytes ?? 0),
    },
    {
      name: "Egress",
      type: "string",
      description: "What may leave the cell.",
      cell: ({ spec }) => egressText(spec?.egress),
    },
    {
      name: "Backlog",
      type: "integer",
      wide: true,
      description: "Entries that the hub does not have yet.",
      cell: ({ status }) => status?.backlog ?? 0,
    },
  ],
  applyDefaults(stream) {
    stream.spec ??= {};
    stream.spec.durability ??= "local";
    stream.status ??= {};
  },
  validate({ spec = {} }) {
    const issues: FieldIssue[] = [];
    const { durability, retention, hubBudget, mqtt } = spec;
    if (durability !== undefined && !parseDurabilityLevel(durability)) {
      issues.push({
        field: "spec.durability",
        message: `"${durability}" must be memory, local, peer(1) to peer(99), or hub`,
      });
    }
    const parses = (field: string, parse: () => number) => {
      try {
        if (parse() <= 0) issues.push({ field, message: "must be more than 0" });
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        issues.push({ field, message: error.message.replace(`${field}: `, "") });
      }
    };
    const { maxAge, maxBytes } = retention ?? {};
    if (maxAge !== undefined)
      parses("spec.retention.maxAge", () => parseDurationMs(maxAge, "spec.retention.maxAge"));
    if (maxBytes !== undefined)
      parses("spec.retention.maxBytes", () => parseBytes(maxBytes, "spec.retention.maxBytes"));
    for (const limit of ["bytesPerSecond", "bytesPerDay"] as const) {
      const [value, field] = [hubBudget?.[limit], `spec.hubBudget.${limit}`];
      if (value === undefined) continue;
      parses(field, () => parseBytes(value, field));
      if (hubBudgetIsTooSmall(limit, value)) issues.push({ field, message: hubBudgetLeast[limit] });
    }
    for (const [index, topic] of (mqtt?.topics ?? []).entries()) {
      const problem = topicFilterProblem(topic);
      if (problem !== undefined)
        issues.push({ field: `spec.mqtt.topics[${index}]`, message: `"${topic}" ${problem}` });
    }
    return issues;
  },
});

const hubBudgetLeast = {
  bytesPerSecond: "must be at least 100",
  bytesPerDay: "must be at least 64Ki",
} as const;

/** A budget in which nothing would ever fit is a mistake. False for what does not parse. */
function hubBudgetIsTooSmall(limit: keyof typeof hubBudgetLeast, text: string): boolean {
  const least = limit === "bytesPerDay" ? 64 * 1024 : 100;
  try {
    const bytes = parseBytes(text, limit);
    return bytes > 0 && bytes < least;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return false;
  }
}
