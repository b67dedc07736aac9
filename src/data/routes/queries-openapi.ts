/** What the gateway's OpenAPI document says of queries. A test sends the examples that stand here. */
import { entry } from "./streams-openapi.ts";

const text = { type: "string" };
const texts = { type: "array", items: text };
const count = { type: "integer" };

const where = {
  description:
    'Which: text such as `status = "open" and total > 100`, or the same as an object, `{"op":"=","path":"/status","value":"open"}` with and, or, not, =, !=, <, <=, >, >=, in, contains, prefix, exists.',
  oneOf: [text, { type: "object" }],
};
const page = {
  limit: { ...count, description: "Rows of this page, 1 to 1000. Default 100." },
  cursor: { ...text, description: "Of the page before." },
  timeoutMs: { ...count, description: "How long it may look, 1 to 30000. Default 2000." },
};
const fields = { ...texts, description: "Only these, where they stand. Default: all." };
const by = { ...texts, description: "Fields whose values make a group." };

const group = {
  type: "object",
  required: ["group", "values"],
  properties: { group: { type: "object" }, values: { type: "object" } },
};
const answer = (properties: object, row: object) => ({
  200: {
    description: "A page. Without a cursor it is the last one.",
    content: {
      "application/json": {
        schema: {
          type: "object",
          required: ["rows"],
          properties: { rows: { type: "array", items: { oneOf: [row, group] } }, ...properties },
        },
      },
    },
  },
});

export const queryDocuments = {
  summary: "Documents of a collection by what is in them, sorted, or groups of them measured.",
  requestBody: {
    content: {
      "application/json": {
        schema: {
          type: "object",
          properties: {
            where,
            sort: {
              ...texts,
              description: "Fields, with - before it the greatest first. Default: by id.",
            },
            fields,
            aggregate: {
              ...texts,
              description: "count, count(total), sum(total), avg(total), min(total), max(total).",
            },
            by,
            ...page,
            explain: { type: "boolean", description: "Also say how it was looked for." },
            live: {
              type: "boolean",
              description:
                "Go on with what changes, as server-sent events; without aggregate, by, cursor and explain. See /v1/live/{collection}.",
            },
          },
        },
        examples: {
          rows: {
            value: {
              where: 'status = "open" and total > 100',
              sort: ["-total"],
              fields: ["id", "total"],
              limit: 20,
              explain: true,
            },
          },
          object: {
            value: {
              where: { op: "contains", path: "/tags", value: "gift" },
              sort: ["/due", "id"],
            },
          },
          groups: { value: { aggregate: ["count", "sum(total)"], by: ["status"] } },
        },
      },
    },
  },
  responses: answer(
    {
      cursor: text,
      explain: {
        type: "object",
        properties: { plan: text, indexes: texts, sqlite: texts, looked: count },
      },
      consistency: { ...text, description: "strong: of a collection with consistency: strong." },
      revision: { ...count, description: "Of the ledger, with consistency: all pages are of it." },
    },
    {
      type: "object",
      required: ["id", "body"],
      properties: {
        id: text,
        version: { ...text, description: "With consistency: strong, for a condition." },
        body: { type: "object" },
      },
    },
  ),
};

const parameter = (name: string, description: string) => ({
  name,
  in: "query",
  required: false,
  schema: text,
  description,
});

export const liveDocuments = {
  summary:
    "The first rows of a query over documents, then how they change, as server-sent events or over a WebSocket.",
  parameters: [
    { name: "collection", in: "path", required: true, schema: text },
    parameter("where", "Which, as text."),
    parameter("sort", "Fields between commas, with - before it the greatest first."),
    parameter("fields", "Only these, between commas."),
    parameter("limit", "Rows that are shown, 1 to 1000. Default 100."),
    parameter("timeoutMs", "How long it may look for rows, 1 to 30000. Default 2000."),
    parameter("lastEventId", "As the header, for a WebSocket."),
    {
      name: "last-event-id",
      in: "header",
      required: false,
      schema: text,
      description: "Of the last event that was taken: what came behind it follows, or a reset.",
    },
  ],
  responses: {
    200: {
      description:
        'Events: result {"rows":[…]}, changes {"changes":[{"change":"added","id":…,"at":0,"row":{…}}]}, reset {"reason":…,"rows":[…]}, resumed {}, end {"code":…,"message":…}. Over a WebSocket (an upgrade of this request, protocol skerry.live) each is one message with event and id beside.',
      content: { "text/event-stream": { schema: text } },
    },
  },
};

export const queryEntries = {
  summary:
    "Entries of a stream by time and what is in them, or what is measured in windows of time.",
  requestBody: {
    content: {
      "application/json": {
        schema: {
          type: "object",
          properties: {
            where,
            from: { ...text, description: "Not before: RFC 3339, or milliseconds since 1970." },
            to: { ...text, description: "Before." },
            fields,
            window: {
              ...text,
              description:
                "Measure each window of this length, such as 10m. They begin at multiples of it since 1970.",
            },
            points: {
              ...count,
              description: "Instead of window: windows so long that there are at most this many.",
            },
            aggregate: {
              ...texts,
              description:
                "count, count(x), sum(x), avg(x), min(x), max(x), first(x) and last(x) by time.",
            },
            by,
            ...page,
          },
        },
        examples: {
          entries: {
            value: { where: "celsius > 20", from: "2026-01-01T08:00:00Z", fields: ["celsius"] },
          },
          windows: {
            value: {
              from: "2026-01-01T08:00:00Z",
              to: "2026-01-01T09:00:00Z",
              window: "10m",
              by: ["sensor"],
              aggregate: ["count", "avg(celsius)", "last(celsius)"],
            },
          },
          points: {
            value: {
              from: "2026-01-01T08:00:00Z",
              to: "2026-01-01T09:00:00Z",
              points: 4,
              aggregate: ["max(celsius)"],
            },
          },
        },
      },
    },
  },
  responses: answer({ cursor: text }, entry),
};

export const runStatement = {
  summary:
    "One SQL statement that reads: SQLite's, over a view for each collection and a table for each stream.",
  requestBody: {
    required: true,
    content: {
      "application/json": {
        schema: {
          type: "object",
          required: ["sql"],
          properties: {
            sql: { ...text, description: "all_views lists what there is." },
            from: { ...text, description: "Of streams: entries not before." },
            to: { ...text, description: "Of streams: entries before." },
            limit: { ...count, description: "Rows, 1 to 10000. Default 1000." },
            timeoutMs: { ...count, description: "1 to 60000. Default 5000." },
          },
        },
        examples: {
          views: { value: { sql: "select name, kind, columns from all_views" } },
          numbers: { value: { sql: "select 1 as one, 'a' as letter", limit: 10 } },
        },
      },
    },
  },
  responses: {
    200: {
      description: "Whole numbers beyond 2^53, and bytes in hexadecimal, are text.",
      content: {
        "application/json": {
          schema: {
            type: "object",
            required: ["columns", "rows", "more"],
            properties: {
              columns: texts,
              rows: { type: "array", items: { type: "array" } },
              more: { type: "boolean", description: "There are more rows than were answered." },
            },
          },
        },
      },
    },
  },
};
