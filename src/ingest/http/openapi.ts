/** What the gateway's OpenAPI document says of appending, and of what was refused. */
import {
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
} from "../../lib/openapi.ts";

const appended = named(
  "Appended",
  object(
    {
      reached: { ...text, description: "memory, local, peer(k) or hub." },
      asked: { ...text, description: "With 202: what was asked for and not reached in time." },
      stored: count,
      duplicates: { ...count, description: "There already, under the same key." },
    },
    ["reached", "stored", "duplicates"],
  ),
);

export const appendDescription = (limits: { timeoutMsMax: number }) => ({
  summary: "Append entries to a stream",
  parameters: [
    {
      ...inQuery("durability", "Default: what the Stream declares."),
      example: "peer(1)",
    },
    inQuery("timeoutMs", "How long the level is waited for. Default 10000.", {
      ...count,
      minimum: 1,
      maximum: limits.timeoutMsMax,
    }),
    inHeader("Skerry-Producer", "With the next two the key of the first entry."),
    inHeader("Skerry-Epoch", "All three or none.", { ...count, minimum: 0 }),
    inHeader("Skerry-Sequence", "The following entries count on.", { ...count, minimum: 1 }),
  ],
  requestBody: {
    required: true,
    content: {
      "application/x-ndjson": { schema: text, example: '{"celsius":21.5}\n' },
      "application/jsonl": { schema: text },
      "application/json": {
        schema: { oneOf: [{ type: "object" }, { type: "array", items: { type: "object" } }] },
      },
    },
  },
  responses: {
    200: answer("Stored, and at the level asked for.", appended),
    202: answer("Not at the level asked for in time; what is stored goes on spreading.", appended),
  },
});

const letter = named(
  "DeadLetter",
  object(
    {
      id: count,
      atMs: count,
      source: { enum: ["mqtt", "http", "host"] },
      code: text,
      message: text,
      sender: text,
      topic: text,
      stream: text,
      bytes: count,
      retryable: flag,
      excerpt: { ...text, description: "To its sender only." },
    },
    ["id", "atMs", "source", "code", "message", "bytes", "retryable"],
  ),
);

export const listDescription = (limits: { listedMax: number }) => ({
  summary: `The latest ${limits.listedMax} refused messages, how many more are kept, and counts by reason`,
  responses: {
    200: answer(
      "The newest first.",
      object({ counts: byName(count), letters: list(letter), more: count }, [
        "counts",
        "letters",
        "more",
      ]),
    ),
  },
});

export const retryDescription = (retryBy: readonly string[]) => ({
  summary:
    "Take refused messages after all, under their senders' authority: your own, or for people all; what is left after ten seconds is for the next time",
  parameters: retryBy.map((name) => inQuery(name, "Only those.")),
  responses: {
    200: answer(
      "What became of them.",
      object({ stored: count, refused: count, skipped: count, left: count }, [
        "stored",
        "refused",
        "skipped",
        "left",
      ]),
    ),
  },
});
