/** Get, list and watch from the ledger. A list, pages included, shows one revision. */
import type { KindDefinition, KubeObject, ObjectKey } from "../../api/index.ts";
import type { Epoch, KeyValue, Ledger, LedgerEvent, Revision } from "../../ledger/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { ListOptions, ListResult, Resources, WatchEvent } from "../resources.ts";
import { selectEvent, selectionOf, type Selection } from "../selection.ts";
import { isFromStart, listThenWatch } from "../watching.ts";
import type { SharedDecode } from "./shared.ts";
import { decodeAt, decodeObject, keyOf, parseVersion, prefixOf } from "./storage.ts";

/** What lists and watches read from. */
export type Reading = { readonly ledger: Ledger; readonly decode: SharedDecode };

export async function getObject<T extends KubeObject>(
  ledger: Ledger,
  kind: KindDefinition<T>,
  key: ObjectKey,
  signal: AbortSignal | undefined,
): Promise<T | undefined> {
  const path = keyOf(kind as KindDefinition, key);
  if (path === undefined) return undefined;
  const { keyValue } = await ledger.get(path, { signal });
  return keyValue && decodeObject<T>(keyValue);
}

type Place = { readonly epoch: Epoch; readonly revision: Revision; readonly after: string };

export async function listObjects<T extends KubeObject>(
  reading: Reading,
  kind: KindDefinition<T>,
  options: ListOptions,
): Promise<ListResult<T>> {
  const { ledger } = reading;
  const selection = selectionOf(kind, options);
  const place = options.continueToken
    ? decodePlace(options.continueToken, ledger.epoch)
    : undefined;
  const one = place === undefined ? oneKey(kind, options, selection) : undefined;
  if (one !== undefined) {
    const { keyValue, revision } = await ledger.get(one, { signal: options.signal });
    return {
      items: selected(reading, selection, keyValue ? [keyValue] : []),
      resourceVersion: String(revision),
    };
  }
  const limit = options.limit === undefined || options.limit <= 0 ? undefined : options.limit;
  const prefix = prefixOf(kind as KindDefinition, options.namespace);
  const items: T[] = [];
  let revision = place?.revision;
  let after = place?.after;
  for (;;) {
    // With a selector a page may come out short: read on until it is full.
    const page = await ledger.list(prefix, {
      ...(limit === undefined ? {} : { limit: limit - items.length }),
      ...(revision === undefined ? {} : { atRevision: revision }),
      ...(after === undefined ? {} : { after }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    revision = page.revision;
    after = page.items.at(-1)?.key ?? after;
    items.push(...selected(reading, selection, page.items));
    if (!page.more) return { items, resourceVersion: String(revision) };
    if (limit !== undefined && items.length >= limit) {
      const continueToken = encodePlace({ epoch: ledger.epoch, revision, after: after ?? "" });
      return { items, resourceVersion: String(revision), continueToken };
    }
  }
}

/** A selector for one name in one namespace needs one key, not the whole list. */
function oneKey<T extends KubeObject>(
  kind: KindDefinition<T>,
  options: ListOptions,
  selection: Selection<T>,
): string | undefined {
  if (selection.name === undefined || (kind.namespaced && !options.namespace)) return undefined;
  return keyOf(kind as KindDefinition, { namespace: options.namespace, name: selection.name });
}

function selected<T extends KubeObject>(
  { decode }: Reading,
  selection: Selection<T>,
  keyValues: readonly KeyValue[],
): T[] {
  const objects = keyValues.map((keyValue) => decode<T>(keyValue));
  return selection.all ? objects : objects.filter((object) => selection.matches(object));
}

function encodePlace(place: Place): string {
  return Buffer.from(JSON.stringify(place)).toString("base64url");
}

function decodePlace(token: string, epoch: Epoch): Place {
  const place = parsePlace(token);
  if (!place) {
    throw new SkerryError({
      code: "invalid-continue-token",
      message: "continue: this is not a token that a list gave",
      hint: "list again from the start",
    });
  }
  if (place.epoch !== epoch) {
    throw new SkerryError({
      code: "compacted",
      message: "continue: the cell's history was rewritten since this list began",
      hint: "list again from the start",
    });
  }
  return place;
}

function parsePlace(token: string): Place | undefined {
  try {
    const place = JSON.parse(Buffer.from(token, "base64url").toString()) as Place;
    const valid =
      typeof place.epoch === "string" &&
      typeof place.after === "string" &&
      Number.isSafeInteger(place.revision);
    return valid ? place : undefined;
  } catch {
    return undefined;
  }
}

export function watchObjects<T extends KubeObject>(
  reading: Reading,
  kind: KindDefinition<T>,
  options: ListOptions & { resourceVersion?: string },
): AsyncIterable<WatchEvent<T>> {
  if (!isFromStart(options.resourceVersion))
    return watchAfter(reading, kind, options, parseVersion(options.resourceVersion));
  const list: Resources["list"] = (listed, query = {}) => listObjects(reading, listed, query);
  return listThenWatch({ list }, kind, options, (resourceVersion) =>
    watchAfter(reading, kind, options, parseVersion(resourceVersion)),
  );
}

async function* watchAfter<T extends KubeObject>(
  { ledger, decode }: Reading,
  kind: KindDefinition<T>,
  options: ListOptions,
  after: Revision,
): AsyncIterable<WatchEvent<T>> {
  const selection = selectionOf(kind, options);
  const prefix = prefixOf(kind as KindDefinition, options.namespace);
  for await (const batch of ledger.watch(prefix, { after, signal: options.signal })) {
    if (batch.events.length === 0)
      yield { type: "BOOKMARK", resourceVersion: String(batch.revision) };
    for (const event of batch.events) {
      const seen = watchEventOf(decode, selection, event, batch.revision);
      if (seen) yield seen;
    }
  }
}

function watchEventOf<T extends KubeObject>(
  decode: SharedDecode,
  selection: Selection<T>,
  event: LedgerEvent,
  revision: Revision,
): WatchEvent<T> | undefined {
  const before = event.previous;
  if (event.type === "delete") {
    if (!before) return undefined;
    return selectEvent(selection, { type: "DELETED", object: decodeAt<T>(before, revision) });
  }
  const object = decode<T>(event.keyValue);
  // Only a selection needs to know what was there; most watches have none.
  const previous = before && !selection.all ? decodeObject<T>(before) : undefined;
  const type = event.keyValue.version === 1 ? "ADDED" : "MODIFIED";
  return selectEvent(selection, { type, object, previous });
}
