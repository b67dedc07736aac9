/**
 * Streams over the application gateway (or the hub): append, query, tail. Browser-safe; everything
 * goes through the `fetch` given.
 */
import type { EntriesRequest, QueryGroup, WindowsRequest } from "../api/records/index.ts";
import type { Clock } from "../lib/clock.ts";
import { ambientClock } from "./ambient.ts";
import { createCaller, linesOf, searchOf, type ClientOptions } from "./caller.ts";
import { followLines } from "./follow.ts";
import { ask, groupsMax, pagesOf } from "./queries.ts";
import { requireSendable } from "./request-body.ts";
import { appendLines, type AppendOptions, type AppendResult } from "./streams-append.ts";
import { batchesOf, type Batch, type BatchesOptions, type ColumnKinds } from "./streams-batches.ts";
import type { Entry } from "./streams-entry.ts";
import { createGroup, type ConsumerGroup, type GroupOptions } from "./streams-groups.ts";

export type QueryOptions = {
  /** Milliseconds since 1970. */
  readonly from?: number;
  readonly to?: number;
  /** At most so many. Default: all. */
  readonly limit?: number;
  /** On a hub: of this cell. */
  readonly cell?: string;
  readonly signal?: AbortSignal;
};

export type TailOptions = Omit<QueryOptions, "limit"> & {
  /**
   * Begin with so many of the newest, 1 to 10000: those of them that are of the time asked for, however
   * many of it came before them. Default 100.
   */
  readonly limit?: number;
};

export interface StreamClient {
  /**
   * One batch: stored as one, or refused as one. For 30 s it is sent again when it was turned away
   * (`rate-limited`, `store-busy`), and when there was no answer if all entries have keys (`key`, or a
   * `$key` in each). Throws with the server's code and words.
   */
  append(
    stream: string,
    entries: readonly Readonly<Record<string, unknown>>[],
    options?: AppendOptions,
  ): Promise<AppendResult>;
  /** The same for entries that are JSON already. */
  appendLines(
    stream: string,
    lines: readonly string[],
    options?: AppendOptions,
  ): Promise<AppendResult>;
  /** Oldest first. */
  query(stream: string, options?: QueryOptions): AsyncIterable<Entry>;
  /** Entries of a node by what is in them, in the order of their arrival, page by page as they are read. */
  select(
    stream: string,
    request?: EntriesRequest & { readonly limit?: number; readonly signal?: AbortSignal },
  ): AsyncIterable<Entry>;
  /**
   * As columns, a batch at a time, in the order of their arrival; with `follow` it goes on with what
   * comes, and waits for a node that is away.
   */
  batches<Kinds extends ColumnKinds>(
    stream: string,
    options: BatchesOptions<Kinds>,
  ): AsyncIterable<Batch<Kinds>>;
  /** What is measured in windows of time on a node; at most 1000 windows and groups. */
  windows(
    stream: string,
    request: WindowsRequest & { readonly signal?: AbortSignal },
  ): Promise<readonly QueryGroup[]>;
  /**
   * The newest `limit`, then what comes, until the signal aborts. Comes back by itself where it was when
   * the connection is lost; throws what the server refuses.
   */
  tail(stream: string, options?: TailOptions): AsyncIterable<Entry>;
  /** Several programs share a stream, and each entry is worked on at least once. On a node only. */
  group(stream: string, name: string, options?: GroupOptions): ConsumerGroup;
}

const newestDefault = 100;

/**
 * Calls throw `not-answering` when nobody does, else what the server said; `body-too-large` for what no
 * node takes, before it is sent.
 */
export function createClient(options: ClientOptions & { clock?: Clock }): StreamClient {
  const call = createCaller(options);
  const clock = options.clock ?? ambientClock;
  const entriesOf = (stream: string) => `/v1/streams/${encodeURIComponent(stream)}/entries`;

  const read = async function* (
    stream: string,
    parameters: Parameters<typeof searchOf>[0],
    signal: AbortSignal | undefined,
  ) {
    const search = searchOf({ ...parameters, format: "ndjson" });
    const answer = await call(`${entriesOf(stream)}?${search}`, signal ? { signal } : {});
    try {
      for await (const line of linesOf(answer)) if (line !== "") yield JSON.parse(line) as Entry;
    } catch (error) {
      if (!signal?.aborted) throw error;
    }
  };

  const pathOf = (stream: string) => `/v1/streams/${encodeURIComponent(stream)}/query`;

  return {
    async append(stream, entries, appendOptions = {}) {
      requireSendable(entries);
      const lines = entries.map((entry) => JSON.stringify(entry));
      const isKeyed = appendOptions.key !== undefined || entries.every((entry) => "$key" in entry);
      return appendLines({ call, clock }, stream, lines, { ...appendOptions, isKeyed });
    },
    appendLines: (stream, lines, appendOptions = {}) =>
      appendLines({ call, clock }, stream, lines, appendOptions),
    query: (stream, { signal, ...query } = {}) => read(stream, query, signal),
    select: (stream, request = {}) => pagesOf(call, pathOf(stream), request),
    batches: (stream, batchesOptions) =>
      batchesOf({ call, clock }, entriesOf(stream), batchesOptions),
    async windows(stream, { signal, aggregate = ["count"], ...request }) {
      const asked = { ...request, aggregate, limit: groupsMax };
      return (await ask<QueryGroup>(call, pathOf(stream), asked, signal)).rows;
    },
    async *tail(stream, { signal, limit: newest = newestDefault, ...range } = {}) {
      const options = { newest, range, signal };
      for await (const { entry } of followLines({ call, clock }, entriesOf(stream), options))
        yield entry;
    },
    group: (stream, name, groupOptions) =>
      createGroup({ call, clock }, { stream, name }, groupOptions),
  };
}
