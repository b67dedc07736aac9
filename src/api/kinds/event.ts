/** Event: what happened to an object, for people (`kubectl describe`); not the data of streams. */
import * as z from "zod";
import { count, opaque, time } from "../schema/builders.ts";
import { defineKind } from "./define.ts";
import { ageOf, metadataSchema, nameColumn } from "./metadata.ts";

const objectReferenceSchema = z
  .strictObject({
    apiVersion: z.string(),
    kind: z.string(),
    namespace: z.string(),
    name: z.string(),
    uid: z.string(),
    resourceVersion: z.string(),
    fieldPath: z.string(),
  })
  .partial();
export type ObjectReference = z.infer<typeof objectReferenceSchema>;

const eventSchema = z.strictObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Event"),
  metadata: metadataSchema,
  involvedObject: objectReferenceSchema,
  related: objectReferenceSchema.optional(),
  type: z.enum(["Normal", "Warning"]).optional(),
  reason: z.string().optional(),
  message: z.string().optional(),
  action: z.string().optional(),
  count: count.optional(),
  firstTimestamp: time.optional(),
  lastTimestamp: time.optional(),
  eventTime: time.optional(),
  reportingComponent: z.string().optional(),
  reportingInstance: z.string().optional(),
  series: opaque.optional(),
  source: z.strictObject({ component: z.string(), host: z.string() }).partial().optional(),
});
export type Event = z.infer<typeof eventSchema>;

const lastSeen = (event: Event) =>
  event.lastTimestamp ?? event.eventTime ?? event.metadata.creationTimestamp;

export const eventKind = defineKind<Event>({
  version: "v1",
  kind: "Event",
  plural: "events",
  shortNames: ["ev"],
  schema: eventSchema,
  ttlMs: 3_600_000,
  columns: [
    {
      name: "Last Seen",
      type: "string",
      description: "Time since it was last seen.",
      cell: (event, nowMs) => ageOf(lastSeen(event), nowMs),
    },
    {
      name: "Type",
      type: "string",
      description: "Normal or Warning.",
      cell: (event) => event.type ?? "Normal",
    },
    {
      name: "Reason",
      type: "string",
      description: "One word for why.",
      cell: (event) => event.reason ?? "",
    },
    {
      name: "Object",
      type: "string",
      description: "What it is about.",
      cell: ({ involvedObject }) =>
        `${(involvedObject.kind ?? "").toLowerCase()}/${involvedObject.name ?? ""}`,
    },
    {
      name: "Message",
      type: "string",
      description: "What happened.",
      cell: (event) => (event.message ?? "").trim(),
    },
    {
      name: "Count",
      type: "integer",
      wide: true,
      description: "How often it was seen.",
      cell: (event) => event.count ?? 1,
    },
    { ...nameColumn, wide: true },
  ],
  fieldValues(event) {
    const about = event.involvedObject;
    return {
      "involvedObject.kind": about.kind ?? "",
      "involvedObject.namespace": about.namespace ?? "",
      "involvedObject.name": about.name ?? "",
      "involvedObject.uid": about.uid ?? "",
      "involvedObject.apiVersion": about.apiVersion ?? "",
      "involvedObject.resourceVersion": about.resourceVersion ?? "",
      "involvedObject.fieldPath": about.fieldPath ?? "",
      reason: event.reason ?? "",
      reportingComponent: event.reportingComponent ?? "",
      source: event.source?.component ?? event.reportingComponent ?? "",
      type: event.type ?? "",
    };
  },
});
