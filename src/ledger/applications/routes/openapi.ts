/** What the routes say of themselves in the gateway's OpenAPI document. */
import {
  anything,
  answer,
  count,
  flag,
  inHeader,
  inPath,
  inQuery,
  jsonBody,
  list,
  named,
  object,
  text,
} from "../../../lib/openapi.ts";

const orNull = (schema: object) => ({ anyOf: [schema, { type: "null" }] });
const state = { enum: ["done"] };
const item = named(
  "CoordinationItem",
  object(
    {
      key: text,
      value: { ...text, description: "base64" },
      createRevision: count,
      modRevision: count,
      version: { ...count, description: "writes since it was made" },
      session: { ...text, description: "it ends with this session" },
    },
    ["key", "value", "createRevision", "modRevision", "version"],
  ),
);
const holder = named(
  "CoordinationHolder",
  object({ token: count, session: text, id: text, value: text }, ["token", "session"]),
);

/** Of a write. 4xx that are not here, and 503: it surely did not happen. */
const outcomes = (done: Readonly<Record<string, unknown>>) => ({
  200: done,
  412: answer(
    "Refused: a condition did not hold, `current` is what stands there. Nothing changed.",
    object(
      {
        state: { enum: ["refused"] },
        revision: count,
        current: orNull({ anyOf: [item, holder] }),
        error: anything,
      },
      ["state", "revision", "error"],
    ),
  ),
  504: answer(
    "The outcome is unknown: read and compare.",
    object({ state: { enum: ["unknown"] }, error: anything }, ["state", "error"]),
  ),
});
const done = answer(
  "Done; `revision` is when.",
  object({ state, revision: count }, ["state", "revision"]),
);

const stale = inQuery("stale", "1: from the nearest copy, which may lag", count);
const fence = [
  inQuery("lock", "the write counts only while this lock is held under `token`"),
  inQuery("election", "likewise for an election"),
  inQuery("token", "the fencing token", count),
];
const revisions = inHeader("If-Match", 'the etag of the key\'s last change, like "812"');
const key = inPath("rest", "the key, slashes and all");
const itsName = inPath("name", "its name");
const events = (description: string) => ({
  200: { description, content: { "text/event-stream": { schema: text } } },
});

export const descriptions = {
  describe: {
    summary: "What this application uses of coordination, and its limits",
    responses: {
      200: answer(
        "As docs/coordination.md names them.",
        object({ application: text, usage: anything, limits: anything }, [
          "application",
          "usage",
          "limits",
        ]),
      ),
    },
  },
  get: {
    summary: "The value of a key",
    parameters: [key, stale],
    responses: {
      200: {
        description: "As it was put; etag, skerry-created and skerry-version say which.",
        content: { "application/octet-stream": { schema: { type: "string", format: "binary" } } },
      },
      404: answer(
        "There is none, at this revision.",
        object({ revision: count, error: anything }, ["revision", "error"]),
      ),
    },
  },
  put: {
    summary: "Put a key, if the conditions hold",
    parameters: [
      key,
      revisions,
      inHeader("If-None-Match", "*: the key does not exist"),
      ...fence,
      inQuery("session", "the key ends with this session"),
    ],
    requestBody: {
      content: { "application/octet-stream": { schema: { type: "string", format: "binary" } } },
    },
    responses: outcomes(done),
  },
  delete: {
    summary: "Delete a key, if the conditions hold",
    parameters: [key, revisions, ...fence],
    responses: outcomes(done),
  },
  list: {
    summary: "Keys below a prefix, at one revision",
    parameters: [
      inQuery("prefix", "the beginning of the keys"),
      inQuery("limit", "at most 1000, default 100", count),
      inQuery("after", "the last key of the page before"),
      inQuery("revision", "of the first page", count),
      stale,
    ],
    responses: {
      200: answer(
        "A page.",
        object({ revision: count, epoch: text, more: flag, items: list(item) }, [
          "revision",
          "epoch",
          "more",
          "items",
        ]),
      ),
    },
  },
  watch: {
    summary: "Changes of keys below a prefix",
    parameters: [
      inQuery("prefix", "the beginning of the keys"),
      inQuery("after", "begin behind this revision; default: now", count),
      inHeader("Last-Event-ID", "go on behind this event"),
    ],
    responses: events("Server-sent events: change, bookmark, compacted, ended."),
  },
  sessionCreate: {
    summary: "Begin a session",
    ...jsonBody(object({ ttlMs: count }), { required: false }),
    responses: outcomes(
      answer(
        "Begun.",
        object({ state, session: text, ttlMs: count, revision: count }, [
          "state",
          "session",
          "ttlMs",
        ]),
      ),
    ),
  },
  sessionRenew: {
    summary: "Renew a session",
    responses: outcomes(
      answer(
        "Renewed, counted from when it was sent.",
        object({ state, ttlMs: count, revision: count }, ["state", "ttlMs"]),
      ),
    ),
  },
  sessionEnd: {
    summary: "End a session, and all that hangs on it",
    responses: outcomes(answer("Ended.", object({ state, revision: count }, ["state"]))),
  },
  claim: {
    summary: "Take it, or wait for it",
    ...jsonBody(
      object(
        {
          session: text,
          id: { ...text, description: "which try this is" },
          waitMs: { ...count, minimum: 0, maximum: 60_000 },
          value: { ...text, description: "what the holder says of itself" },
        },
        ["session"],
      ),
    ),
    responses: outcomes(
      answer(
        "Taken, under this fencing token.",
        object({ state, revision: count, token: count }, ["state", "revision", "token"]),
      ),
    ),
  },
  holder: {
    summary: "Who holds it",
    parameters: [itsName, stale],
    responses: {
      200: answer(
        "Of a lock the holder, of an election the leader; null: nobody.",
        object({ revision: count, holder: orNull(holder), leader: orNull(holder) }, ["revision"]),
      ),
    },
  },
  release: {
    summary: "Give it back",
    parameters: [itsName, inQuery("token", "the fencing token it is held under", count)],
    responses: outcomes(done),
  },
  observe: {
    summary: "Who holds it, now and from now on",
    responses: events("Server-sent events: holder or leader."),
  },
};
