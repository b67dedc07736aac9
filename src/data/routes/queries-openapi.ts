/** What the gateway's OpenAPI document says of queries. A test sends the examples that stand here. */
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
  responses: {
    200: {
      description: "A page. Without a cursor it is the last one.",
      content: {
        "application/json": {
          schema: {
            type: "object",
            required: ["rows"],
            properties: {
              rows: {
                type: "array",
                items: {
                  oneOf: [
                    {
                      type: "object",
                      required: ["id", "body"],
                      properties: { id: text, body: { type: "object" } },
                    },
                    {
                      type: "object",
                      required: ["group", "values"],
                      properties: { group: { type: "object" }, values: { type: "object" } },
                    },
                  ],
                },
              },
              cursor: text,
              explain: {
                type: "object",
                properties: { plan: text, indexes: texts, sqlite: texts, looked: count },
              },
            },
          },
        },
      },
    },
  },
};
