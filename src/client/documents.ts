/**
 * Documents over the application gateway: put, patch, change, read, list, follow. Browser-safe;
 * everything goes through the `fetch` given.
 */
import type {
  FieldChange,
  GroupsRequest,
  QueryGroup,
  QueryRow,
  RowsRequest,
  TextDelta,
} from "../api/records/index.ts";
import { createBackoff } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { uuid } from "../lib/random.ts";
import type { Json, JsonObject } from "../lib/json.ts";
import { ambientClock, ambientRandom } from "./ambient.ts";
import { bodyOf, createCaller, searchOf, type ClientOptions } from "./caller.ts";
import { eventsOf, type ServerEvent } from "./events.ts";
import { followQuery, type LiveRequest, type LiveUpdate } from "./live.ts";
import { listening } from "./listening.ts";
import { pauseMsAfter } from "./patiently.ts";
import { ask, groupsMax, pagesOf } from "./queries.ts";
import { jsonBody } from "./request-body.ts";
import { untilKnown } from "./writing.ts";

export type { FieldChange, Json, TextDelta };
export type Body = JsonObject;

export type WriteOptions = {
  /** `local` (default), `peer(1)`, … */
  readonly durability?: string;
  readonly timeoutMs?: number;
  /**
   * The same key again is the same write: makes it safe to send a count or an insertion again; in a
   * collection with `consistency: strong` for two minutes.
   */
  readonly key?: string;
  /**
   * Of a collection with `consistency: strong`: the version that the document has to have, null: it must
   * not be there. Otherwise `condition-failed` is thrown, and nothing was written.
   */
  readonly ifVersion?: string | null;
  readonly signal?: AbortSignal;
};

export type WriteResult = {
  /** The level that was seen to hold; `ledger` in a collection with `consistency: strong`. */
  readonly reached: string;
  readonly consistency?: "strong";
  /** With `consistency: strong`: the ledger's, at which this is so. */
  readonly revision?: number;
  /** Present when time ran out before this level was reached; the write is stored at `reached`. */
  readonly asked?: string;
  /** Documents that are different now. */
  readonly changed: number;
  /** Of the one document written; absent once it is deleted. */
  readonly version?: string;
  /** Of a batch, in its order; null for a document that is not there now. */
  readonly versions?: readonly (string | null)[];
  readonly warnings?: readonly string[];
  /** With `consistency: strong`: it was done when it was sent before; its warnings were told then. */
  readonly repeated?: true;
};

export type BatchWrite = {
  readonly id: string;
  readonly collection?: string;
  /** As in `WriteOptions`. */
  readonly ifVersion?: string | null;
} & (
  | { readonly put: Body }
  | { readonly merge: Body }
  | { readonly change: readonly FieldChange[] }
  | { readonly delete: true }
);

export type StoredDocument = {
  /** At a hub: whose copy it is. */
  readonly cell?: string;
  readonly collection: string;
  readonly id: string;
  readonly version: string;
  readonly schemaVersion: number;
  readonly body: Body;
  readonly conflicts: readonly {
    readonly kind: "concurrent-writes" | "deleted-and-edited" | "value-taken" | "reference-missing";
    readonly path: string;
    readonly shown?: Json;
    readonly others?: readonly {
      readonly value: Json;
      /** Absent with `type`: it is made of many writes, and of another kind than what is shown. */
      readonly origin?: string;
      readonly sequence?: number;
      readonly atMs?: number;
      readonly type?: "list" | "set" | "counter" | "text";
    }[];
    /** Of `value-taken`: where the values stand, and the document that has had them for longer. */
    readonly paths?: readonly string[];
    readonly values?: readonly Json[];
    readonly by?: {
      readonly id: string;
      readonly origin: string;
      readonly sequence: number;
      readonly atMs: number;
    };
    /** Of `reference-missing`: what is named and not there. */
    readonly collection?: string;
    readonly id?: string;
  }[];
  /** Texts with attributes, by JSON pointer; the body has their characters only. */
  readonly texts?: Readonly<Record<string, TextDelta>>;
  readonly consistency?: "strong";
  /** With `consistency: strong`: the ledger's, of its last change. */
  readonly revision?: number;
};

export type ListOptions = {
  /** At a hub: of this cell. */
  readonly cell?: string;
  /** At a hub: with this id, of whatever cell. */
  readonly id?: string;
  readonly after?: string;
  /** Only documents with conflicts. */
  readonly conflicted?: boolean;
  readonly signal?: AbortSignal;
};

/** `cursor`: where to go on, on this node. */
export type DocumentChange = { readonly id: string; readonly cursor: string } & (
  | { readonly deleted: true }
  | { readonly deleted: false; readonly document: StoredDocument }
);

export interface DocumentClient {
  /** A hub has the documents of many cells, and wants to know of which. */
  get(
    collection: string,
    id: string,
    options?: { readonly cell?: string },
  ): Promise<StoredDocument | undefined>;
  /** Makes the document this; fields that stay the same are not written. */
  put(collection: string, id: string, body: Body, options?: WriteOptions): Promise<WriteResult>;
  /** JSON merge patch (RFC 7396): null removes a field. */
  merge(collection: string, id: string, patch: Body, options?: WriteOptions): Promise<WriteResult>;
  change(
    collection: string,
    id: string,
    changes: readonly FieldChange[],
    options?: WriteOptions,
  ): Promise<WriteResult>;
  delete(collection: string, id: string, options?: WriteOptions): Promise<WriteResult>;
  /** All of them or none, on every node. */
  batch(
    collection: string,
    writes: readonly BatchWrite[],
    options?: WriteOptions,
  ): Promise<WriteResult>;
  /** By id. */
  list(collection: string, options?: ListOptions): AsyncIterable<StoredDocument>;
  /** Documents by what is in them, page by page as they are read; `limit`: at most this many. */
  query(
    collection: string,
    request?: RowsRequest & { readonly limit?: number; readonly signal?: AbortSignal },
  ): AsyncIterable<QueryRow>;
  /** What is measured of groups of documents; at most 1000 groups. */
  groups(
    collection: string,
    request: GroupsRequest & { readonly signal?: AbortSignal },
  ): Promise<readonly QueryGroup[]>;
  /**
   * The first rows of a query (`limit`, default 100, at most 1000), then exactly how they change, until
   * the signal aborts. Comes back by itself when the connection is lost, with what was missed or, told
   * as `reset`, with all rows. Throws what the server refuses, and why a live query ended for good.
   */
  live(collection: string, request?: LiveRequest): AsyncIterable<LiveUpdate>;
  /**
   * Every document as it is now, then each that changes, until the signal aborts. Comes back by itself
   * where it was when the connection is lost, or silent for 45 s; throws what the server refuses.
   */
  changes(
    collection: string,
    options?: { readonly since?: string; readonly signal?: AbortSignal },
  ): AsyncIterable<DocumentChange>;
}

const pageDocuments = 500;

/**
 * Calls throw `not-answering` when nobody does, else what the server said; `body-too-large` for what no
 * node takes, before it is sent. For 30 s a write is sent again that was turned away (`rate-limited`,
 * `store-busy`); so is one with a key that got no answer, and one to a collection with
 * `consistency: strong` whose outcome is unknown: they take effect once.
 */
export function createDocuments(options: ClientOptions & { clock?: Clock }): DocumentClient {
  const call = createCaller(options);
  const clock = options.clock ?? ambientClock;
  const pathOf = (...names: string[]) => `/v1/documents/${names.map(encodeURIComponent).join("/")}`;

  const write = async (
    method: string,
    path: string,
    body: unknown,
    { durability, timeoutMs, key, ifVersion, signal }: WriteOptions = {},
  ): Promise<WriteResult> => {
    const query = searchOf({ durability, timeoutMs });
    const id = uuid(ambientRandom);
    const text = body === undefined ? undefined : jsonBody(body);
    const send = async (isRepeated: boolean, limit: AbortSignal) => {
      const answer = await call(`${path}?${query}`, {
        method,
        headers: {
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...(key === undefined
            ? { "write-id": isRepeated ? `${id}; repeat` : id }
            : { "idempotency-key": key }),
          ...(typeof ifVersion === "string" ? { "if-match": `"${ifVersion}"` } : {}),
          ...(ifVersion === null ? { "if-none-match": "*" } : {}),
        },
        ...(text === undefined ? {} : { body: text }),
        signal: limit,
      });
      return await bodyOf<WriteResult>(answer, limit);
    };
    return await untilKnown(clock, send, { isKeyed: key !== undefined, timeoutMs, signal });
  };

  return {
    async get(collection, id, { cell } = {}) {
      const query = cell === undefined ? "" : `?${new URLSearchParams({ cell })}`;
      try {
        return await bodyOf<StoredDocument>(await call(pathOf(collection, id) + query, {}));
      } catch (error) {
        if (error instanceof SkerryError && error.code === "document-unknown") return undefined;
        throw error;
      }
    },
    put: (collection, id, body, writeOptions) =>
      write("PUT", pathOf(collection, id), body, writeOptions),
    merge: (collection, id, patch, writeOptions) =>
      write("PATCH", pathOf(collection, id), patch, writeOptions),
    change: (collection, id, changes, writeOptions) =>
      write("PATCH", pathOf(collection, id), changes, writeOptions),
    delete: (collection, id, writeOptions) =>
      write("DELETE", pathOf(collection, id), undefined, writeOptions),
    batch: (collection, writes, writeOptions) =>
      write("POST", pathOf(collection), { writes }, writeOptions),
    async *list(collection, { after, conflicted, signal, cell, id } = {}) {
      for (let from = after; ;) {
        const query = new URLSearchParams({ limit: String(pageDocuments) });
        if (cell !== undefined) query.set("cell", cell);
        if (id !== undefined) query.set("id", id);
        if (from !== undefined) query.set("after", from);
        if (conflicted) query.set("conflicted", "1");
        const answer = await call(`${pathOf(collection)}?${query}`, signal ? { signal } : {});
        const page = await bodyOf<{ documents: StoredDocument[]; next?: string }>(answer, signal);
        yield* page.documents;
        if (page.next === undefined) return;
        from = page.next;
      }
    },
    query: (collection, request = {}) => pagesOf(call, `${pathOf(collection)}/query`, request),
    live: (collection, request = {}) =>
      followQuery({ call, clock }, `${pathOf(collection)}/query`, request),
    async groups(collection, { signal, aggregate = ["count"], ...request }) {
      const asked = { ...request, aggregate, limit: groupsMax };
      return (await ask<QueryGroup>(call, `${pathOf(collection)}/query`, asked, signal)).rows;
    },
    async *changes(collection, { since = "", signal } = {}) {
      const backoff = createBackoff({ random: ambientRandom }, { initialMs: 200, maxMs: 5000 });
      for (let cursor = since; ;) {
        if (signal?.aborted) return;
        const ear = listening(clock, signal);
        let lost: unknown;
        try {
          const query = new URLSearchParams({ follow: "1", since: cursor });
          const answer = await call(`${pathOf(collection)}?${query}`, { signal: ear.signal });
          for await (const event of eventsOf(answer, ear.heard)) {
            backoff.reset();
            const change = changeOf(event);
            cursor = change.cursor;
            ear.pause();
            yield change;
            ear.heard();
          }
        } catch (error) {
          if (signal?.aborted) return;
          if (error instanceof SkerryError && !error.retryable) throw error;
          lost = error;
        } finally {
          ear.done();
        }
        await clock
          .sleep(pauseMsAfter(lost, backoff), signal ? { signal } : {})
          .catch(() => undefined);
      }
    },
  };
}

function changeOf({ id: cursor, event, data }: ServerEvent): DocumentChange {
  const document = JSON.parse(data) as StoredDocument;
  return event === "delete"
    ? { id: document.id, cursor, deleted: true }
    : { id: document.id, cursor, deleted: false, document };
}
