/**
 * A strong collection as it changes: first every document as of one revision, then each revision that
 * touched one. A cursor is `EPOCH:REVISION`; while the first listing is told, it is the beginning.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { StrongCaller, StrongItem, StrongLedger } from "../ports.ts";
import { decodeStored, idOf, shown, type StrongDocument } from "./stored.ts";

export type StrongChange = { readonly id: string; readonly cursor: string } & (
  | { readonly deleted: true }
  | { readonly deleted: false; readonly document: StrongDocument }
);
/** May be empty: then nothing changed up to now. */
export type StrongChangeSet = readonly StrongChange[];

type Place = { readonly epoch: string; readonly revision: number };

const beginning = "0";
const pageItems = 100;

export async function* followChanges(
  ledger: StrongLedger,
  caller: StrongCaller,
  { collection, since = "" }: { collection: string; since?: string },
  signal: AbortSignal,
): AsyncGenerator<StrongChangeSet> {
  let place = placeOf(since);
  if (!place) {
    for (let after: string | undefined; ;) {
      const page = await ledger.list(caller, collection, {
        limit: pageItems,
        ...(after === undefined ? {} : { after }),
        ...(place ? { revision: place.revision } : {}),
      });
      place ??= { epoch: page.epoch, revision: page.revision };
      // Whoever is cut off in the middle of it begins anew.
      yield changesOf(collection, page.items, {
        before: beginning,
        last: page.more ? beginning : cursorOf(place),
      });
      if (signal.aborted) return;
      after = page.items.at(-1)?.key;
      if (!page.more || after === undefined) break;
    }
  }
  const watched = ledger.watch(caller, collection, { ...place, signal });
  for await (const { epoch, revision, items } of watched) {
    yield changesOf(collection, items, {
      before: cursorOf(place),
      last: cursorOf({ epoch, revision }),
    });
    place = { epoch, revision };
  }
}

/** All but the last lead back before all of them, so that a revision is told whole. */
const changesOf = (
  collection: string,
  items: readonly (StrongItem | { readonly key: string; readonly value?: undefined })[],
  { before, last }: { before: string; last: string },
): StrongChangeSet =>
  items.map((item, index) => {
    const id = idOf(item.key);
    const cursor = index === items.length - 1 ? last : before;
    return item.value === undefined
      ? { id, cursor, deleted: true }
      : { id, cursor, deleted: false, document: shown(collection, id, decodeStored(item)) };
  });

const cursorOf = ({ epoch, revision }: Place) => `${epoch}:${revision}`;

/** Undefined: from the beginning. Throws `invalid-cursor`. */
function placeOf(cursor: string): Place | undefined {
  if (cursor === "" || cursor === beginning) return undefined;
  const [, epoch, digits] = /^([^:]{1,128}):(\d{1,15})$/.exec(cursor) ?? [];
  if (epoch !== undefined && digits !== undefined) return { epoch, revision: Number(digits) };
  throw new SkerryError({
    code: "invalid-cursor",
    message: `since: "${cursor.slice(0, 80)}" is no cursor of a collection with consistency: strong`,
    hint: "use one that an event carried, or leave it out",
  });
}
