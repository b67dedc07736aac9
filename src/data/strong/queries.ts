/**
 * Queries over a strong collection: its documents are read from the ledger as of one revision, the
 * newest when the first page was asked for, and the query of all other collections walks them in memory.
 * Collections are small (16 MiB), so nothing is indexed. A cursor carries the revision: pages are of one.
 */
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { createTurns } from "../../lib/turns.ts";
import type { StrongCaller, StrongItem, StrongLedger } from "../ports.ts";
import { inSlices } from "../queries/connections.ts";
import { planQuery, type IdRange } from "../queries/plan.ts";
import type { Query, QueryPage } from "../queries/query.ts";
import { runQuery } from "../queries/run.ts";
import type { Found, QuerySource } from "../queries/source.ts";
import { compareText } from "../queries/values.ts";
import { decodeStored, idOf, keyOf } from "./stored.ts";

export type StrongPage = QueryPage & {
  readonly consistency: "strong";
  /** Of the ledger, at which all of it is so. */
  readonly revision: number;
};

export interface StrongQueries {
  /**
   * Throws `invalid-cursor`, `compacted`, `query-too-dear`, `store-busy`, `quorum-lost`, `server-lost`,
   * `ledger-unavailable`, `coordination-busy`.
   */
  documents(
    caller: StrongCaller,
    request: { collection: string; query: Query },
  ): Promise<StrongPage>;
}

/** Each holds all documents of a collection. */
const runningMax = 2;
const waitingMax = 64;
const pageItems = 500;

export function createStrongQueries({
  ledger,
  clock,
}: {
  ledger: Pick<StrongLedger, "list">;
  clock: Clock;
}): StrongQueries {
  const turns = createTurns(runningMax);
  let asked = 0;

  const answer = async (
    caller: StrongCaller,
    { collection, query: { cursor, ...rest } }: { collection: string; query: Query },
  ): Promise<StrongPage> => {
    const endMs = clock.monotonicMs() + rest.timeoutMs;
    const isOver = () => clock.monotonicMs() >= endMs;
    const from = cursor === undefined ? undefined : cursorOf(cursor);
    const ids = idsOf(rest);
    const items: StrongItem[] = [];
    let at: Pick<Cursor, "epoch" | "revision"> | undefined = from;
    for (let after = ids.low === undefined ? undefined : keyBelow(ids.low); ;) {
      const page = await ledger
        .list(caller, collection, {
          limit: pageItems,
          ...(after === undefined ? {} : { after }),
          ...(at ? { revision: at.revision } : {}),
        })
        .catch((error: unknown) => {
          throw isForgotten(error) ? forgotten(error) : error;
        });
      at ??= { epoch: page.epoch, revision: page.revision };
      // Revisions of another history mean nothing in this one.
      if (page.epoch !== at.epoch) throw forgotten();
      items.push(...page.items);
      after = page.items.at(-1)?.key;
      if (!page.more || after === undefined || isBehind(after, ids.high)) break;
      if (isOver()) throw tooDear(rest.timeoutMs, items.length);
    }
    const { epoch, revision } = at;
    const query: Query = from ? { ...rest, cursor: from.inner } : rest;
    const page = await inSlices(
      clock,
      runQuery(sourceOf(items), { collection, documents: items.length, query, isOver }),
    );
    const next = page.cursor;
    return {
      ...page,
      ...(next === undefined ? {} : { cursor: `${epoch}:${revision}:${next}` }),
      consistency: "strong",
      revision,
    };
  };

  return {
    async documents(caller, request) {
      if (asked >= runningMax + waitingMax)
        throw new SkerryError({
          code: "store-busy",
          message: `${waitingMax} queries over collections with consistency: strong wait on this node`,
          hint: "ask again in a moment, or another node",
          retryable: true,
        });
      asked++;
      try {
        return await turns.take(() => answer(caller, request));
      } finally {
        asked--;
      }
    },
  };
}

type Candidate = Found & { readonly item: StrongItem };

/** `items`: by key, which is the order of ids. */
function sourceOf(items: readonly StrongItem[]): QuerySource<Candidate> {
  const byId = new Map(items.map((item) => [idOf(item.key), item]));
  const candidate = (item: StrongItem): Candidate => ({ item, bytes: item.value.byteLength });
  return {
    isById: true,
    indexes: () => [],
    count: () => 0,
    keys: () => [],
    explain: () => [],
    *ids({ low, high, after, descending }) {
      for (const item of descending ? items.toReversed() : items) {
        const id = idOf(item.key);
        if (low !== undefined && compareText(id, low) < 0) continue;
        if (high !== undefined && compareText(id, high) > 0) continue;
        if (after !== undefined && compareText(id, after) * (descending ? -1 : 1) <= 0) continue;
        yield candidate(item);
      }
    },
    found(id) {
      const item = byId.get(id);
      return item && candidate(item);
    },
    subjectOf({ item }) {
      const { body, revision } = decodeStored(item);
      return { id: idOf(item.key), body, beside: { version: String(revision) } };
    },
  };
}

/** Between which ids everything lies that can match. */
function idsOf(query: Pick<Query, "where" | "shape">): IdRange {
  const plan = planQuery(query, { indexes: [], count: () => 0 });
  return plan.walk === "ids" ? plan.ids : {};
}

/** Smaller than the key of this id, and not smaller than much else. */
const keyBelow = (id: string): string | undefined => keyOf(id).slice(0, -1) || undefined;
const isBehind = (key: string, high: string | undefined): boolean =>
  high !== undefined && compareText(idOf(key), high) > 0;

type Cursor = { readonly epoch: string; readonly revision: number; readonly inner: string };

/** Throws `invalid-cursor`. */
function cursorOf(cursor: string): Cursor {
  const [, epoch, digits, inner] = /^([^:]{1,128}):(\d{1,15}):([\w-]+)$/.exec(cursor) ?? [];
  if (epoch !== undefined && digits !== undefined && inner !== undefined)
    return { epoch, revision: Number(digits), inner };
  throw new SkerryError({
    code: "invalid-cursor",
    message: `cursor: "${cursor.slice(0, 40)}" is not of a query over a collection with consistency: strong`,
    hint: "a cursor goes on with the same collection, where and sort; leave it out to begin again",
  });
}

const isForgotten = (error: unknown): boolean =>
  error instanceof SkerryError && ["compacted", "future-revision"].includes(error.code);

const forgotten = (cause?: unknown) =>
  new SkerryError({
    code: "compacted",
    message: "cursor: the revision that its pages are of is forgotten",
    hint: "begin the query again, without a cursor",
    ...(cause === undefined ? {} : { cause }),
  });

const tooDear = (timeoutMs: number, documents: number) =>
  new SkerryError({
    code: "query-too-dear",
    message: `after ${timeoutMs} ms ${documents} documents had come from the ledger`,
    hint: "narrow where by id, or raise timeoutMs",
  });
