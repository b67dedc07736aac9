/** What the gateway's OpenAPI document says of documents. */
import {
  anything,
  answer,
  byName,
  count,
  flag,
  inHeader,
  inQuery,
  list,
  named,
  object,
  text,
  type Schema,
} from "../../lib/openapi.ts";

const strong = "With consistency: strong.";
const document = named(
  "Document",
  object(
    {
      collection: text,
      id: text,
      version: text,
      schemaVersion: count,
      body: anything,
      conflicts: list(anything),
      texts: { ...byName(list(anything)), description: "Attributes, by JSON pointer." },
      consistency: { enum: ["strong"], description: strong },
      revision: { ...count, description: `Of the ledger. ${strong}` },
    },
    ["collection", "id", "version", "schemaVersion", "body", "conflicts"],
  ),
);
const written = named(
  "DocumentsWritten",
  object(
    {
      reached: { ...text, description: "local, peer(k) or hub; ledger with consistency: strong." },
      asked: { ...text, description: "With 202: what was asked for and not reached in time." },
      changed: { ...count, description: "Documents that are different now." },
      version: { ...text, description: "Of one document; absent: there is none now." },
      versions: {
        ...list({ type: ["string", "null"] }),
        description: "Of several, in the order of the request.",
      },
      warnings: list(text),
      state: { enum: ["done"], description: strong },
      consistency: { enum: ["strong"], description: strong },
      revision: { ...count, description: strong },
      repeated: { ...flag, description: "It had been done before, under this key." },
    },
    ["reached", "changed"],
  ),
);
const error = { $ref: "#/components/schemas/Error" };
const outcomes = {
  200: answer("Written, and at the level asked for.", written),
  202: answer("Written; not at the level asked for in time. It goes on spreading.", written),
  412: answer(
    `Refused: a condition did not hold, current is what stands there. ${strong}`,
    object({ state: { enum: ["refused"] }, current: {}, error: anything }, [
      "state",
      "current",
      "error",
    ]),
  ),
  504: answer(
    `It may have happened: send the same again under the same key, or read and compare. ${strong}`,
    object({ state: { enum: ["unknown"] }, error: anything }, ["state", "error"]),
  ),
};
const writing = [
  inQuery("durability", "local (default), peer(1) and more, or hub; not with consistency: strong."),
  inQuery("timeoutMs", "How long the level is waited for. Default 10000.", {
    ...count,
    minimum: 1,
    maximum: 60_000,
  }),
  inHeader("Idempotency-Key", "Under one key it takes effect once."),
  inHeader("Write-Id", `16 to 64 characters, and "; repeat" when it is sent again. ${strong}`),
];
const conditions = [
  inHeader("If-Match", `"VERSION": only if that is the document's. ${strong}`),
  inHeader("If-None-Match", `*: only if there is none. ${strong}`),
];
const body = (schema: Schema, types: readonly string[] = ["application/json"]) => ({
  required: true,
  content: Object.fromEntries(types.map((type) => [type, { schema }])),
});

const change = {
  type: "object",
  required: ["change", "path"],
  properties: {
    change: { ...text, description: "set, remove, increment, add, insert and others." },
    path: { ...text, description: "A JSON pointer." },
  },
  additionalProperties: true,
};
const batched = named(
  "DocumentWrite",
  object(
    {
      id: text,
      collection: { ...text, description: "Default: the one of the path." },
      ifVersion: { type: ["string", "null"], description: strong },
      put: anything,
      merge: anything,
      change: list(change),
      delete: flag,
    },
    ["id"],
  ),
);
const changed = named(
  "DocumentChange",
  object({ id: text, cursor: text, deleted: flag, document }, ["id", "cursor", "deleted"]),
);

export const descriptions = {
  read: {
    summary: "Read a document",
    responses: { 200: answer("As it is here.", document), 404: answer("There is none.", error) },
  },
  list: {
    summary: "List documents by id; with since, what changed; with follow=1, as it changes",
    parameters: [
      inQuery("after", "Documents with a greater id."),
      inQuery("limit", "1 to 1000. Default 100.", count),
      inQuery("conflicted", "1: only documents with conflicts.", { enum: ["0", "1"] }),
      inQuery("since", "A cursor of this node: what changed behind it; empty: from the beginning."),
      inQuery("follow", "1: server-sent events.", { enum: ["0", "1"] }),
      inHeader("Last-Event-ID", "As since."),
    ],
    responses: {
      200: {
        description: "A page of documents, or of changes; or events: change, delete.",
        content: {
          "application/json": {
            schema: {
              oneOf: [
                object(
                  {
                    documents: list(document),
                    next: { ...text, description: "The last id, where there are more." },
                    consistency: { enum: ["strong"], description: strong },
                    revision: { ...count, description: strong },
                    cursor: { ...text, description: `To follow from. ${strong}` },
                  },
                  ["documents"],
                ),
                object({ changes: list(changed), cursor: text, more: flag }, [
                  "changes",
                  "cursor",
                  "more",
                ]),
              ],
            },
          },
          "text/event-stream": { schema: text },
        },
      },
    },
  },
  status: {
    summary: "Collections, and what this store holds of them",
    responses: {
      200: answer(
        "The store.",
        object(
          {
            origin: text,
            vector: byName(count),
            collections: list(
              object(
                {
                  name: text,
                  documents: count,
                  conflicted: count,
                  consistency: { enum: ["strong"] },
                },
                ["name"],
              ),
            ),
            waiting: count,
            logBytes: count,
            clockAheadMs: { type: "number" },
          },
          ["origin", "vector", "collections"],
        ),
      ),
    },
  },
  put: {
    summary: "Make a document this",
    parameters: [...writing, ...conditions],
    requestBody: body(anything),
    responses: outcomes,
  },
  patch: {
    summary: "Change fields: an object is a JSON merge patch, an array a list of changes",
    parameters: [...writing, ...conditions],
    requestBody: body({ oneOf: [anything, list(change)] }, [
      "application/json",
      "application/merge-patch+json",
    ]),
    responses: outcomes,
  },
  delete: {
    summary: "Delete a document",
    parameters: [...writing, ...conditions],
    responses: outcomes,
  },
  batch: {
    summary: "Write several documents, all or none",
    parameters: writing,
    requestBody: body(object({ writes: list(batched) }, ["writes"])),
    responses: outcomes,
  },
};
