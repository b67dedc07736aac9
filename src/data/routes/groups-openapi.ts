/** What the gateway's OpenAPI document says of consumer groups. */
import {
  answer,
  byName,
  count,
  flag,
  jsonBody,
  list,
  named,
  object,
  text,
  type Schema,
} from "../../lib/openapi.ts";
import { entry } from "./streams-openapi.ts";

const done = (schema: Schema) => ({ responses: { 200: answer("Done.", schema) } });

const start = named(
  "GroupStart",
  object({
    from: { ...text, description: "oldest, newest, or a time (RFC 3339)" },
    fromMs: { ...count, description: "a time as milliseconds since 1970" },
    after: { ...text, description: "a cursor of this node" },
  }),
);
const status = named(
  "GroupStatus",
  object({
    stream: text,
    group: text,
    position: { ...text, description: "Everything up to this cursor is acknowledged." },
    lag: { ...count, description: "Entries behind it." },
    underWay: { ...count, description: "Deliveries that wait for their acknowledgement." },
    members: list(text),
    scope: { enum: ["cell"] },
    holder: { type: ["string", "null"], description: "Of the cell: the node that delivers now." },
    positions: { ...byName(count), description: "Of the cell: what is acknowledged, by origin." },
  }),
);
const acknowledged = named(
  "GroupAcknowledged",
  object(
    {
      state: { enum: ["acknowledged", "done-before"] },
      reached: { ...text, description: "Of results: local, peer(k) or hub." },
      asked: { ...text, description: "With 202: what a stream declares, not reached in time." },
      stored: count,
      duplicates: count,
      removed: { ...count, description: "Of the duplicates, what retention removed since." },
    },
    ["state"],
  ),
);
const held = object({ held: { ...flag, description: "Whether it was this member's." } });

export const descriptions = {
  list: {
    summary: "The consumer groups of a stream.",
    ...done(object({ groups: list(status) })),
  },
  status: { summary: "How far a consumer group is.", ...done(status) },
  create: {
    summary: "Makes a consumer group; one that is there stays as it is.",
    ...jsonBody(start, { required: false }),
    responses: {
      200: answer("It was there.", status),
      201: answer("Made.", status),
    },
  },
  remove: {
    summary: "Deletes a consumer group.",
    responses: { 204: { description: "Gone." } },
  },
  seek: {
    summary: "Moves a group: replay from a time, or skip. Deliveries under way count no more.",
    ...jsonBody(start),
    ...done(status),
  },
  take: {
    summary: "The next batch for one member, to be acknowledged within ackMs.",
    ...jsonBody(
      object({
        member: { ...text, description: "shown in the group's status" },
        limit: { ...count, minimum: 1, maximum: 10_000, default: 100 },
        ackMs: { ...count, minimum: 100, maximum: 43_200_000, default: 30_000 },
        waitMs: { ...count, minimum: 0, maximum: 30_000, default: 0 },
      }),
      { required: false },
    ),
    ...done(
      object(
        {
          delivery: { ...text, description: "absent when there is nothing" },
          attempt: count,
          ackMs: count,
          entries: list(entry),
        },
        ["entries"],
      ),
    ),
  },
  ack: {
    summary: "A batch is done; results are stored in the same transaction, or not at all.",
    ...jsonBody(
      object(
        {
          delivery: text,
          results: list(
            object(
              {
                stream: text,
                atMs: count,
                key: object({ producer: text, epoch: count, sequence: count }),
                body: { type: "object" },
              },
              ["stream", "body"],
            ),
          ),
        },
        ["delivery"],
      ),
    ),
    responses: {
      200: answer("Done; results are where their streams declare them to be.", acknowledged),
      202: answer("Done; results are at `reached`, and go on spreading.", acknowledged),
    },
  },
  extend: {
    summary: "More time for a batch.",
    ...jsonBody(object({ delivery: text, ackMs: count }, ["delivery", "ackMs"])),
    ...done(held),
  },
  release: {
    summary: "Gives a batch back at once.",
    ...jsonBody(object({ delivery: text }, ["delivery"])),
    ...done(held),
  },
} as const;
