/**
 * Documents of collections with `consistency: strong`: read, decided (`plan.ts`) and written on
 * condition that nobody wrote meanwhile, in the cell's ledger. Invariants T1 to T8 stand in the README.
 */
import { createBackoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Random } from "../../lib/random.ts";
import { checkWrites, unknownCollection } from "../documents/check.ts";
import { onceOf, type Once } from "../documents/once.ts";
import type { CollectionDeclaration, DocumentWrite } from "../documents/store.ts";
import type { StrongCaller, StrongLedger } from "../ports.ts";
import { followChanges, type StrongChangeSet } from "./follow.ts";
import { decodeReceipt, encodeReceipt, type Receipt, type StrongKey } from "./once.ts";
import { planWrites, strongWritesMax } from "./plan.ts";
import { decodeStored, idOf, keyOf, shown, type Stored, type StrongDocument } from "./stored.ts";

export type StrongAnswer =
  | {
      readonly state: "done";
      /** Of the ledger, at which this is so. */
      readonly revision: number;
      /** Documents that are different now. */
      readonly changed: number;
      readonly warnings: readonly string[];
      /** In the order of the request. Absent: there is no such document now. */
      readonly versions: readonly (string | undefined)[];
      /** It was done when it was sent before. */
      readonly isRepeated?: true;
    }
  /** A condition did not hold; nothing changed. `current` is what stands there. */
  | {
      readonly state: "refused";
      readonly message: string;
      readonly current: StrongDocument | undefined;
    }
  | { readonly state: "unknown"; readonly cause: string };

export interface StrongDocuments {
  /** Replaces the declared collections: those with `consistency: strong`. */
  declare(collections: readonly CollectionDeclaration[]): void;
  has(collection: string): boolean;
  readonly names: readonly string[];
  /**
   * All or none. Throws what changed nothing: `invalid-document`, `document-too-large`,
   * `batch-too-large`, `quota-exceeded`, `write-contended`, `quorum-lost`, `server-lost`,
   * `ledger-unavailable`, `coordination-busy`, `disk-full`. With `key` the same may be sent again, to
   * any node, for two minutes: it takes effect once, and what is then answered or thrown about the
   * documents (`refused`, `invalid-document`, …) holds for all that was sent under the key.
   */
  write(
    caller: StrongCaller,
    writes: readonly DocumentWrite[],
    key?: StrongKey,
  ): Promise<StrongAnswer>;
  read(
    caller: StrongCaller,
    place: { collection: string; id: string },
  ): Promise<StrongDocument | undefined>;
  list(
    caller: StrongCaller,
    query: { collection: string; after?: string; limit?: number },
  ): Promise<{ documents: readonly StrongDocument[]; next?: string }>;
  /** Every document, then each change, until `signal` aborts. Throws `compacted`, `invalid-cursor`. */
  follow(
    caller: StrongCaller,
    query: { collection: string; since?: string },
    signal: AbortSignal,
  ): AsyncIterable<StrongChangeSet>;
}

/** Writers that meet take turns by chance; this many losses in a row are no chance any more. */
const attemptsMax = 16;
const pageDefault = 100;

export function createStrongDocuments(deps: {
  ledger: StrongLedger;
  clock: Clock;
  random: Random;
}): StrongDocuments {
  const { ledger, clock } = deps;
  let declared: ReadonlyMap<string, CollectionDeclaration> = new Map();

  const declarationOf = (writes: readonly DocumentWrite[]): CollectionDeclaration => {
    const [name = "", other] = [...new Set(writes.map(({ collection }) => collection))];
    if (other !== undefined)
      throw new SkerryError({
        code: "invalid-document",
        message: `writes: both of ${name} and of ${other}`,
        hint: "a batch stays within one collection when that has consistency: strong",
      });
    const collection = declared.get(name);
    if (!collection) throw new SkerryError(unknownCollection(name, declared.keys()));
    return collection;
  };

  const readOne = async (caller: StrongCaller, collection: string, id: string) => {
    if (id === "" || Buffer.byteLength(id) > 256) return undefined;
    const { items } = await ledger.read(caller, collection, [keyOf(id)]);
    const [item] = items;
    return item ? shown(collection, id, decodeStored(item)) : undefined;
  };

  const keptAnswer = async (
    caller: StrongCaller,
    collection: string,
    { once, receipt }: { once: Once; receipt: { value: Uint8Array; revision: number } },
  ): Promise<StrongAnswer> => {
    const kept = decodeReceipt(receipt.value, once);
    if ("done" in kept) return doneBefore(kept.done, receipt.revision);
    const { id, message } = kept.refused;
    const current = id === undefined ? undefined : await readOne(caller, collection, id);
    return { state: "refused", message, current };
  };
  /** Undefined: nothing that was sent under the key takes effect any more; else what became of it. */
  const bar = async (
    caller: StrongCaller,
    collection: string,
    once: Once,
    { id, message }: { readonly id?: string; readonly message: string },
  ): Promise<StrongAnswer | undefined> => {
    const refused = { ...(id === undefined ? {} : { id }), message };
    const barred = await ledger.transact(caller, collection, {
      when: [],
      changes: [],
      once: { id: once.id, value: encodeReceipt({ of: once.of, refused }) },
    });
    if (barred.state === "done") return undefined;
    if (barred.state === "unknown") return barred;
    // Any key: what stands under the id is asked for, and told instead.
    const { receipt } = await ledger.read(caller, collection, [keyOf("-")], once.id);
    if (receipt) return await keptAnswer(caller, collection, { once, receipt });
    return { state: "unknown", cause: "what was known of the key was forgotten meanwhile" };
  };

  return {
    declare(collections) {
      declared = new Map(collections.map((collection) => [collection.name, collection]));
    },
    has: (collection) => declared.has(collection),
    get names() {
      return [...declared.keys()];
    },

    async write(caller, writes, key) {
      const collection = declarationOf(writes);
      if (writes.length > strongWritesMax)
        throw new SkerryError({
          code: "batch-too-large",
          message: `writes: ${writes.length} in one request`,
          hint: `send at most ${strongWritesMax} at a time to a collection with consistency: strong`,
        });
      const { name } = collection;
      const ids = [...new Set(writes.map(({ id }) => id))];
      const once = key && onceOf([caller.id, key.key], writes);
      const complaint = checkWrites(writes, undefined, declared);
      if (complaint) {
        // The declaration may have been another one when it was sent before.
        const before = once && !key?.isFirst ? await bar(caller, name, once, complaint) : undefined;
        if (before) return before;
        throw new SkerryError(complaint);
      }
      const backoff = createBackoff(deps, { initialMs: 2, maxMs: 100 });
      for (let attempt = 0; attempt < attemptsMax; attempt++) {
        if (attempt > 0) await clock.sleep(backoff.nextMs());
        // What was sent before may be under way until something stands under its id (T8).
        const mayBeUnderWay = once !== undefined && !(key?.isFirst && attempt === 0);
        const { revision, items, receipt } = await ledger.read(
          caller,
          name,
          ids.map(keyOf),
          mayBeUnderWay ? once.id : undefined,
        );
        if (receipt && once) return await keptAnswer(caller, name, { once, receipt });
        const standing = new Map<string, Stored>();
        for (const item of items) if (item) standing.set(idOf(item.key), decodeStored(item));
        const plan = planWrites(collection, writes, standing);
        if (plan.state !== "planned") {
          const refused = plan.state === "mismatch" ? plan : plan.complaint;
          const before = mayBeUnderWay ? await bar(caller, name, once, refused) : undefined;
          if (before) return before;
          if (plan.state === "refused") throw new SkerryError(plan.complaint);
          const { id, message } = plan;
          const stored = standing.get(id);
          return { state: "refused", message, current: stored && shown(name, id, stored) };
        }
        const { changes, warnings } = plan;
        const written = new Map(changes.map(({ key: at, value }) => [idOf(at), value]));
        /** `at`: what stands for the revision of this write. */
        const versionsAt = <At>(at: At) =>
          writes.map(({ id }) => {
            if (!written.has(id)) return standing.get(id)?.revision ?? null;
            return written.get(id) === undefined ? null : at;
          });
        // Nothing to change is told at once, unless it has to be kept that it was.
        const when =
          plan.when.length > 0 || !mayBeUnderWay
            ? plan.when
            : ids.map((id) => ({ key: keyOf(id), revision: standing.get(id)?.revision ?? 0 }));
        const done = { changed: changes.length, versions: versionsAt<true>(true) };
        const outcome =
          when.length === 0
            ? ({ state: "done", revision } as const)
            : await ledger.transact(caller, name, {
                when,
                changes,
                ...(once
                  ? { once: { id: once.id, value: encodeReceipt({ of: once.of, done }) } }
                  : {}),
              });
        if (outcome.state === "refused") continue;
        if (outcome.state === "unknown") return { state: "unknown", cause: outcome.cause };
        return {
          state: "done",
          revision: outcome.revision,
          changed: changes.length,
          warnings,
          versions: versionsAt(outcome.revision).map((version) => version?.toString()),
        };
      }
      throw new SkerryError({
        code: "write-contended",
        message: `${ids.length === 1 ? `${name}/${ids[0]}` : name}: others wrote there ${attemptsMax} times while this write was tried`,
        hint: "nothing was written; send it again, or let one writer write what all of them do",
        retryable: true,
      });
    },

    read: (caller, { collection, id }) => readOne(caller, collection, id),

    async list(caller, { collection, after, limit = pageDefault }) {
      const page = await ledger.list(caller, collection, {
        limit,
        ...(after === undefined ? {} : { after: keyOf(after) }),
      });
      const documents = page.items.map((item) =>
        shown(collection, idOf(item.key), decodeStored(item)),
      );
      const next = page.more ? documents.at(-1)?.id : undefined;
      return { documents, ...(next === undefined ? {} : { next }) };
    },

    follow: (caller, query, signal) => followChanges(ledger, caller, query, signal),
  };
}

const doneBefore = (
  { changed, versions }: Extract<Receipt, { done: unknown }>["done"],
  revision: number,
): StrongAnswer => ({
  state: "done",
  revision,
  changed,
  warnings: [],
  versions: versions.map((each) => (each === true ? revision : each)?.toString()),
  isRepeated: true,
});
