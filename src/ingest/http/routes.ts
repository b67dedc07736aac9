/**
 * `POST /v1/streams/:name/entries`: appends what one request carries as one batch. 200 when the
 * level asked for was reached, 202 when time ran out before (the answer names the level reached).
 */
import {
  formatDurabilityLevel,
  parseDurabilityLevel,
  type DurabilityLevel,
  type EntryKey,
} from "../../api/index.ts";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { callerOf, httpErrorOf, type Routes } from "../../runtime/http/index.ts";
import type { Metrics } from "../../runtime/metrics/index.ts";
import type { AgainBy } from "../again.ts";
import type { Batcher } from "../batcher.ts";
import type { DeadLetters } from "../dead-letters.ts";
import { parseKey } from "../entry-body.ts";
import type { Append, DeclaredStreams, StreamDeclaration } from "../ports.ts";
import { retriedBy, retryTimeoutMs } from "../retries.ts";
import { mountDeadLetters } from "./dead-letters.ts";
import { parseEntries, type BodyFormat } from "./lines.ts";
import { appendDescription } from "./openapi.ts";

export type HttpIngestDependencies = {
  /** For a caller that shares the store with nobody; see `intake`. */
  readonly append: Append;
  /** Fair to every producer, and shared with the other ways in. */
  readonly intake?: Batcher;
  readonly streams: DeclaredStreams;
  readonly deadLetters: DeadLetters;
  readonly clock: Clock;
  readonly metrics: Metrics;
};

/** The answer to an append that stored something. */
export type AppendAnswer = {
  /** `memory`, `local`, `peer(k)` or `hub`. */
  readonly reached: string;
  /** Present with 202: what was asked for and not reached in time. */
  readonly asked?: string;
  readonly stored: number;
  readonly duplicates: number;
  /** Of the duplicates, what retention removed since; present when there are any. */
  readonly removed?: number;
};

const bodyBytesMax = 4 * 1024 * 1024;
const timeoutMsDefault = 10_000;
const timeoutMsMax = 60_000;
const formatByType: Readonly<Record<string, BodyFormat>> = {
  "application/x-ndjson": "lines",
  "application/jsonl": "lines",
  "application/json": "json",
};

/** Routes for the gateway: append, and what was refused lately. */
export function httpIngestRoutes(deps: HttpIngestDependencies): Routes {
  const requests = deps.metrics.counter(
    "skerry_ingest_http_requests_total",
    "Append requests over HTTP by what became of them.",
    ["outcome"],
  );
  const entriesTotal = deps.metrics.counter(
    "skerry_ingest_http_entries_total",
    "Entries taken over HTTP, duplicates included.",
  );
  const append = async (
    { stream: name, sender, query: asked, headers }: Omit<AgainBy<"http">, "by" | "atMs">,
    given: { content: Uint8Array; connection: unknown; again?: { readonly atMs: number } },
  ) => {
    const { content, connection, again } = given;
    const stream = findStream(deps.streams, name);
    const { level, timeoutMs } = parseQuery(asked, stream);
    const query = { level, timeoutMs: again ? Math.min(timeoutMs, retryTimeoutMs) : timeoutMs };
    const firstKey = parseKeyHeaders(headers);
    const type = String(headers["content-type"] ?? "")
      .split(";")[0]
      ?.trim()
      .toLowerCase();
    const read = await parseEntries(content, {
      format: formatByType[type ?? ""] ?? "json",
      stream: name,
      ...(firstKey ? { firstKey } : {}),
    });
    const entries = again ? read.map((entry) => ({ atMs: again.atMs, ...entry })) : read;
    const outcome = deps.intake
      ? await deps.intake.submit({
          ...{ entries, producer: sender, connection, level: query.level },
          alone: { timeoutMs: query.timeoutMs },
        })
      : await deps.append(entries, query);
    return { outcome, query, entries };
  };
  deps.deadLetters.retryBy("http", (again, content) =>
    retriedBy(async () => (await append(again, { content, connection: undefined, again })).outcome),
  );
  return (app) => {
    void app.register(async (scope) => {
      scope.removeAllContentTypeParsers();
      scope.addContentTypeParser(
        Object.keys(formatByType),
        { parseAs: "buffer", bodyLimit: bodyBytesMax },
        (_request, body, done) => done(null, body),
      );
      scope.post<{
        Params: { name: string };
        Querystring: Record<string, unknown>;
        Body: Buffer;
      }>(
        "/v1/streams/:name/entries",
        { config: { openapi: appendDescription({ timeoutMsMax }) }, bodyLimit: bodyBytesMax },
        async (request, reply) => {
          const { name } = request.params;
          const producer = callerOf(request) ?? request.ip;
          const { query: asked, headers, body: content } = request;
          const asking = { stream: name, sender: producer, query: asked, headers: said(headers) };
          const receivedMs = deps.clock.wallMs();
          try {
            const { outcome, query, entries } = await append(asking, {
              content,
              connection: request.raw.socket,
            });
            requests.inc({ outcome: outcome.state });
            if (outcome.state === "refused") throw new SkerryError(outcome);
            entriesTotal.inc(entries.length);
            const { reached, stored, duplicates, removed } = outcome;
            return reply.code(outcome.state === "reached" ? 200 : 202).send({
              reached: formatDurabilityLevel(reached),
              ...(outcome.state === "short" ? { asked: formatDurabilityLevel(query.level) } : {}),
              stored,
              duplicates,
              ...(removed ? { removed: removed.length } : {}),
            } satisfies AppendAnswer);
          } catch (error) {
            const { status, body } = httpErrorOf(error);
            if (body.error.retryable) void reply.header("retry-after", "1");
            // What is to be sent again is nobody's to keep: it would push out what never comes again.
            if (status < 500 && !body.error.retryable) {
              deps.deadLetters.record({
                source: "http",
                code: body.error.code,
                message: body.error.message,
                stream: name,
                sender: producer,
                payload: content ?? new Uint8Array(),
                again: { by: "http", ...asking, atMs: receivedMs },
              });
            }
            throw error;
          }
        },
      );
      mountDeadLetters(scope, deps.deadLetters);
    });
  };
}

function findStream(streams: DeclaredStreams, name: string): StreamDeclaration {
  const stream = streams().find((declared) => declared.name === name);
  if (stream) return stream;
  throw new SkerryError({
    code: "stream-unknown",
    message: `there is no stream "${name}"`,
    hint: "declare it: a Stream in skerry.dev/v1alpha1, by kubectl apply",
  });
}

function parseQuery(
  query: Readonly<Record<string, unknown>>,
  stream: StreamDeclaration,
): { level: DurabilityLevel; timeoutMs: number } {
  const unknown = Object.keys(query).find((name) => name !== "durability" && name !== "timeoutMs");
  if (unknown !== undefined) {
    throw new SkerryError({
      code: "invalid-query",
      message: `query parameter "${unknown}" is unknown`,
      hint: "known are durability and timeoutMs",
    });
  }
  const { durability, timeoutMs = timeoutMsDefault } = query;
  const level =
    durability === undefined ? stream.durability : parseDurabilityLevel(String(durability));
  if (!level) {
    throw new SkerryError({
      code: "invalid-query",
      message: `durability: "${String(durability)}" is not a level`,
      hint: "use memory, local, peer(1), peer(2) … or hub",
    });
  }
  const number = Number(timeoutMs);
  if (!Number.isInteger(number) || number < 1 || number > timeoutMsMax || timeoutMs === "") {
    throw new SkerryError({
      code: "invalid-query",
      message: `timeoutMs: "${String(timeoutMs)}" is not a whole number from 1 to ${timeoutMsMax}`,
    });
  }
  return { level, timeoutMs: number };
}

/** `Skerry-Producer`, `Skerry-Epoch`, `Skerry-Sequence`: all three or none. */
function parseKeyHeaders(headers: Readonly<Record<string, unknown>>): EntryKey | undefined {
  const producer = headers["skerry-producer"];
  const epoch = headers["skerry-epoch"];
  const sequence = headers["skerry-sequence"];
  if (producer === undefined && epoch === undefined && sequence === undefined) return undefined;
  const result = parseKey(
    { producer, epoch: toNumber(epoch), sequence: toNumber(sequence) },
    "header Skerry",
  );
  if (result.ok) return result.key;
  throw new SkerryError({
    code: "invalid-entry",
    message: `${result.problem.field} ${result.problem.message}`,
    hint: "give Skerry-Producer, Skerry-Epoch and Skerry-Sequence together, or none of them",
  });
}

const toNumber = (header: unknown) =>
  typeof header === "string" && /^\d{1,16}$/.test(header) ? Number(header) : header;

/** Of the headers, those that an append reads: no other is anybody's to keep. */
const said = (headers: Readonly<Record<string, unknown>>) =>
  Object.fromEntries(
    ["content-type", "skerry-producer", "skerry-epoch", "skerry-sequence"].flatMap((name) =>
      headers[name] === undefined ? [] : [[name, headers[name]]],
    ),
  );
