/** What the routes say of themselves in the gateway's OpenAPI document. */

type Parameter = {
  readonly name: string;
  readonly in: "query" | "header" | "path";
  readonly required?: boolean;
  readonly description: string;
  readonly schema: { readonly type: string };
};

const parameter =
  (where: Parameter["in"], type: string) =>
  (name: string, description: string): Parameter => ({
    name,
    in: where,
    ...(where === "path" ? { required: true } : {}),
    description,
    schema: { type },
  });
const text = parameter("query", "string");
const number = parameter("query", "integer");
const header = parameter("header", "string");
const path = parameter("path", "string");

const outcomes = {
  200: { description: "Done; `revision` is when." },
  412: {
    description:
      "Refused: a condition did not hold, `current` is what stands there. Nothing changed.",
  },
  429: { description: "A quota or a limit of this application is used up. Nothing changed." },
  503: { description: "No server, no quorum, or no ledger. Nothing changed." },
  504: { description: "The outcome is unknown: read and compare." },
};

const stale = number("stale", "1: from the nearest copy, which may lag");
const fence = [
  text("lock", "the write counts only while this lock is held under `token`"),
  text("election", "likewise for an election"),
  number("token", "the fencing token"),
];
const revisions = header("If-Match", 'the etag of the key\'s last change, like "812"');
const key = path("*", "the key, slashes and all");

const json = (properties: Readonly<Record<string, unknown>>) => ({
  requestBody: { content: { "application/json": { schema: { type: "object", properties } } } },
});
const events = {
  responses: { 200: { description: "Server-sent events.", content: { "text/event-stream": {} } } },
};

export const descriptions = {
  describe: { summary: "What this application uses of coordination, and its limits" },
  get: { summary: "The value of a key", parameters: [key, stale] },
  put: {
    summary: "Put a key, if the conditions hold",
    parameters: [
      key,
      revisions,
      header("If-None-Match", "*: the key does not exist"),
      ...fence,
      text("session", "the key ends with this session"),
    ],
    requestBody: { content: { "application/octet-stream": {} } },
    responses: outcomes,
  },
  delete: {
    summary: "Delete a key, if the conditions hold",
    parameters: [key, revisions, ...fence],
    responses: outcomes,
  },
  list: {
    summary: "Keys below a prefix, at one revision",
    parameters: [
      text("prefix", "the beginning of the keys"),
      number("limit", "at most 1000, default 100"),
      text("after", "the last key of the page before"),
      number("revision", "of the first page"),
      stale,
    ],
  },
  watch: {
    summary: "Changes of keys below a prefix",
    parameters: [
      text("prefix", "the beginning of the keys"),
      number("after", "begin behind this revision; default: now"),
      header("Last-Event-ID", "go on behind this event"),
    ],
    ...events,
  },
  sessionCreate: { summary: "Begin a session", ...json({ ttlMs: { type: "integer" } }) },
  sessionRenew: { summary: "Renew a session" },
  sessionEnd: { summary: "End a session, and all that hangs on it", responses: outcomes },
  claim: {
    summary: "Take it, or wait for it",
    responses: outcomes,
    ...json({
      session: { type: "string" },
      id: { type: "string" },
      waitMs: { type: "integer" },
      value: { type: "string" },
    }),
  },
  holder: { summary: "Who holds it", parameters: [path("name", "its name"), stale] },
  release: {
    summary: "Give it back",
    parameters: [path("name", "its name"), number("token", "the fencing token it is held under")],
    responses: outcomes,
  },
  observe: { summary: "Who holds it, now and from now on", ...events },
};
