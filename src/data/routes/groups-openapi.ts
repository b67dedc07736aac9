/** What the gateway's OpenAPI document says of consumer groups. */
const text = { type: "string" };
const count = { type: "integer" };
const object = (properties: object, required: readonly string[] = []) => ({
  type: "object",
  properties,
  ...(required.length > 0 ? { required } : {}),
});
const body = (schema: object, required = true) => ({
  requestBody: { required, content: { "application/json": { schema } } },
});
const answer = (schema: object, status = "200", description = "Done.") => ({
  responses: { [status]: { description, content: { "application/json": { schema } } } },
});

const start = object({
  from: { ...text, description: "oldest, newest, or a time (RFC 3339)" },
  fromMs: { ...count, description: "a time as milliseconds since 1970" },
  after: { ...text, description: "a cursor of this node" },
});
const status = object({
  stream: text,
  group: text,
  position: { ...text, description: "Everything up to this cursor is acknowledged." },
  lag: { ...count, description: "Entries behind it." },
  underWay: { ...count, description: "Deliveries that wait for their acknowledgement." },
  members: { type: "array", items: text },
  holder: { type: ["string", "null"], description: "Of the cell: the node that delivers now." },
  positions: { ...object({}), description: "Of the cell: what is acknowledged, by origin." },
});
const acknowledged = object(
  {
    state: { enum: ["acknowledged", "done-before"] },
    reached: { ...text, description: "Of results: local, peer(k) or hub." },
    asked: { ...text, description: "With 202: what a stream declares, not reached in time." },
    stored: count,
    duplicates: count,
    removed: { ...count, description: "Of the duplicates, what retention removed since." },
  },
  ["state"],
);
const held = object({ held: { type: "boolean", description: "Whether it was this member's." } });

export const descriptions = {
  list: {
    summary: "The consumer groups of a stream.",
    ...answer(object({ groups: { type: "array", items: status } })),
  },
  status: { summary: "How far a consumer group is.", ...answer(status) },
  create: {
    summary: "Makes a consumer group; one that is there stays as it is.",
    ...body(start, false),
    responses: {
      200: { description: "It was there.", content: { "application/json": { schema: status } } },
      201: { description: "Made.", content: { "application/json": { schema: status } } },
    },
  },
  remove: {
    summary: "Deletes a consumer group.",
    responses: { 204: { description: "Gone." } },
  },
  seek: {
    summary: "Moves a group: replay from a time, or skip. Deliveries under way count no more.",
    ...body(start),
    ...answer(status),
  },
  take: {
    summary: "The next batch for one member, to be acknowledged within ackMs.",
    ...body(
      object({
        member: { ...text, description: "shown in the group's status" },
        limit: { ...count, minimum: 1, maximum: 10_000, default: 100 },
        ackMs: { ...count, minimum: 100, maximum: 43_200_000, default: 30_000 },
        waitMs: { ...count, minimum: 0, maximum: 30_000, default: 0 },
      }),
      false,
    ),
    ...answer(
      object(
        {
          delivery: { ...text, description: "absent when there is nothing" },
          attempt: count,
          ackMs: count,
          entries: { type: "array", items: { type: "object" } },
        },
        ["entries"],
      ),
    ),
  },
  ack: {
    summary: "A batch is done; results are stored in the same transaction, or not at all.",
    ...body(
      object(
        {
          delivery: text,
          results: {
            type: "array",
            items: object(
              {
                stream: text,
                atMs: count,
                key: object({ producer: text, epoch: count, sequence: count }),
                body: { type: "object" },
              },
              ["stream", "body"],
            ),
          },
        },
        ["delivery"],
      ),
    ),
    responses: {
      200: {
        description: "Done; results are where their streams declare them to be.",
        content: { "application/json": { schema: acknowledged } },
      },
      202: {
        description: "Done; results are at `reached`, and go on spreading.",
        content: { "application/json": { schema: acknowledged } },
      },
    },
  },
  extend: {
    summary: "More time for a batch.",
    ...body(object({ delivery: text, ackMs: count }, ["delivery", "ackMs"])),
    ...answer(held),
  },
  release: {
    summary: "Gives a batch back at once.",
    ...body(object({ delivery: text }, ["delivery"])),
    ...answer(held),
  },
} as const;
