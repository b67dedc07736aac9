/** What the gateway's OpenAPI document says of comparing stores. A test sends the example that stands here. */
const text = { type: "string" };
const line = {
  type: "object",
  required: ["event"],
  properties: { event: { enum: ["progress", "compared", "end", "failed"] } },
  additionalProperties: true,
};
const names = { type: "array", items: text };

export const verifyStores = {
  summary:
    "This node's collections and streams held against other nodes' and the hub's, as lines: progress, compared, end.",
  requestBody: {
    content: {
      "application/json": {
        schema: {
          type: "object",
          properties: {
            names: { ...names, description: "Collections and streams. Default: all." },
            with: { ...names, description: "Nodes, or hub. Default: all." },
          },
        },
        examples: { all: { value: {} } },
      },
    },
  },
  responses: {
    200: {
      description:
        'One JSON object a line: {"event":"progress","store":…,"seen":…,"of":…}, {"event":"compared","kind":…,"name":…,"with":…,"state":"equal|different|undecided","items":…,"differences":[…]}, {"event":"end","state":…}, or {"event":"failed","error":{…}}. For people, with credentials of the machine.',
      content: { "application/x-ndjson": { schema: line } },
    },
  },
};
