/** What the gateway's OpenAPI document says of reading streams. */
import {
  anything,
  answer,
  byName,
  count,
  flag,
  inQuery,
  list,
  named,
  object,
  text,
} from "../../lib/openapi.ts";

const waiting = { entries: count, bytes: count };
const stream = named(
  "StreamStatus",
  object(
    {
      name: text,
      entries: count,
      sealed: { ...count, description: "Of these, in segments." },
      bytes: count,
      backlog: { ...object(waiting), description: "What the hub has not acknowledged." },
      droppedBeforeHub: count,
      droppedWhenFull: count,
    },
    ["name", "entries", "bytes"],
  ),
);

/** An entry as readers and members of groups get it. */
export const entry = named(
  "Entry",
  object(
    {
      stream: text,
      at: { ...text, description: "RFC 3339" },
      producer: text,
      epoch: count,
      sequence: count,
      origin: text,
      position: count,
      cursor: { ...text, description: "A place in this node's store, to go on behind." },
      body: anything,
    },
    ["stream", "at", "origin", "position", "cursor", "body"],
  ),
);

export const storeStatus = {
  summary: "What this node's store has of each stream, and what waits for the hub.",
  responses: {
    200: answer(
      "The store.",
      object(
        {
          origin: text,
          vector: { ...byName(count), description: "By log: up to where it is here." },
          hubVector: { ...byName(count), description: "By log: up to where the hub has it." },
          streams: list(stream),
          backlog: object({ ...waiting, oldestAgeMs: { type: "number" } }, ["entries", "bytes"]),
          damaged: list(
            object({ stream: text, entries: count, fromMs: count, toMs: count, message: text }),
          ),
          scrubbed: object({ segments: count, passes: count }),
        },
        ["origin", "vector", "streams", "backlog"],
      ),
    ),
  },
};

export const readEntries = {
  summary: "Entries of a stream in the order of this node's store; with follow=1, as they come.",
  parameters: [
    inQuery("after", "Behind this cursor."),
    inQuery("newest", "Begin with so many of the newest.", count),
    inQuery("from", "Measured not before: RFC 3339, or milliseconds since 1970."),
    inQuery("to", "Measured before."),
    inQuery("limit", "So many at most; of one answer in JSON, 10000.", count),
    inQuery("follow", "1: go on with what comes, as lines.", { enum: ["0", "1"] }),
    inQuery("format", "Default: ndjson.", { enum: ["ndjson", "json"] }),
  ],
  responses: {
    200: {
      description: "One entry a line, or a page. An empty line is a sign of life.",
      content: {
        "application/x-ndjson": { schema: entry },
        "application/json": {
          schema: object({ entries: list(entry), cursor: text, more: flag }, [
            "entries",
            "cursor",
            "more",
          ]),
        },
      },
    },
  },
};
