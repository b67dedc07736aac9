/** Watches of keys and observers of claims, from the ledger's own watches. */
import { SkerryError } from "../../../lib/errors.ts";
import type { Ledger, Revision, WatchBatch } from "../../ledger.ts";
import type { StreamItem, StreamRequest } from "../coordination.ts";
import type { Namespace } from "../namespace.ts";
import { changeOf, holderOf } from "./items.ts";

type Watch = Extract<StreamRequest, { type: "watch" }>;
type Observe = Extract<StreamRequest, { type: "observe" }>;

/** Begins with a bookmark. Ends with `compacted` where history cannot be told (C7). */
export async function* watchKeys(
  ledger: Ledger,
  namespace: Namespace,
  request: Watch,
  signal: AbortSignal,
): AsyncGenerator<StreamItem> {
  const { epoch } = ledger;
  if (request.epoch !== undefined && request.epoch !== epoch) {
    const { compactedRevision } = await ledger.status();
    yield { event: "compacted", revision: compactedRevision, epoch };
    return;
  }
  const prefix = namespace.keys + request.prefix;
  const after = (request.after ??
    (await ledger.get(namespace.keys, { signal })).revision) as Revision;
  const batches = ledger.watch(prefix, { after, signal })[Symbol.asyncIterator]();
  // Whatever the ledger says of `after` comes with the first batch; until then nothing was missed.
  yield { event: "bookmark", revision: after, epoch };
  try {
    for (let next = await batches.next(); !next.done; next = await batches.next()) {
      const { revision, events }: WatchBatch = next.value;
      const changes = events.map((event) => changeOf(namespace, event));
      yield changes.length === 0
        ? { event: "bookmark", revision, epoch }
        : { event: "change", revision, epoch, events: changes };
    }
  } catch (error) {
    const known = forgotten(error);
    if (known === undefined) throw error;
    yield { event: "compacted", revision: known, epoch };
  } finally {
    await batches.return?.();
  }
}

/** The holder now, then each change of it; a break in history is bridged by looking again. */
export async function* observeClaim(
  ledger: Ledger,
  namespace: Namespace,
  { kind, name }: Observe,
  signal: AbortSignal,
): AsyncGenerator<StreamItem> {
  const key = namespace.claim(kind, name);
  for (;;) {
    const { epoch } = ledger;
    const { keyValue, revision } = await ledger.get(key, { signal });
    yield { event: "holder", revision, epoch, holder: keyValue ? holderOf(keyValue) : null };
    try {
      for await (const batch of ledger.watch(key, { after: revision, signal })) {
        const last = batch.events.findLast(
          (event) => (event.type === "put" ? event.keyValue.key : event.key) === key,
        );
        if (last) {
          const holder = last.type === "put" ? holderOf(last.keyValue) : null;
          yield { event: "holder", revision: batch.revision, epoch, holder };
        } else yield { event: "bookmark", revision: batch.revision, epoch };
      }
      return;
    } catch (error) {
      if (forgotten(error) === undefined) throw error;
    }
  }
}

/** The oldest revision that is known, when history before or behind it was asked for. */
function forgotten(error: unknown): number | undefined {
  if (!(error instanceof SkerryError)) return undefined;
  const { compactedRevision, revision } = error.details ?? {};
  if (error.code === "compacted") return Number(compactedRevision ?? 0);
  // A revision that is yet to come was given out by a history that is no more.
  if (error.code === "future-revision") return Number(revision ?? 0);
  return undefined;
}
