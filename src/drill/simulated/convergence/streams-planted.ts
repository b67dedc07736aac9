/** What stores and disks may never do, so that the checkers are shown that they would find it. */
import {
  decodeBatch,
  encodeBatch,
  type GlobalStore,
  type LocalStreamStore,
  type LogBatch,
} from "../../../data/index.ts";
import type { CellOptions } from "./streams-cell.ts";

export type StreamsPlanted =
  | "none"
  /** A node leaves an entry of another's log out. */
  | "lost-entry"
  /** A node has an entry of another's log twice, in the place of another one: as many as there should be. */
  | "doubled-entry"
  /** A node tells others another entry of a position of its log than the one that it has there. */
  | "position-twice"
  /** A node has something else in entries of others' logs, under their keys. */
  | "changed-body"
  /** A node does not know which positions others must have for a write. */
  | "claims"
  /** The power takes transactions that were committed. */
  | "lost-transactions"
  /** The hub answers, and leaves an entry without a key out. */
  | "hub-hole"
  /** The hub shows what came once more. */
  | "hub-doubled";

export function spoiled(
  planted: StreamsPlanted,
): Pick<CellOptions, "spoilNode" | "spoilHub" | "isForgetful"> {
  return {
    isForgetful: planted === "lost-transactions",
    spoilNode(store, name) {
      if (name === "n1") spoilNode(store, planted);
    },
    spoilHub: (store) => spoilHub(store, planted),
  };
}

const other = Buffer.from('{"n":-1}');

function spoilNode(store: LocalStreamStore, planted: StreamsPlanted): void {
  const { append, apply, log } = store;
  const changed = (bytes: Uint8Array, change: (batch: LogBatch) => LogBatch["entries"]) => {
    const batch = decodeBatch(bytes);
    return encodeBatch({ ...batch, entries: change(batch) });
  };
  if (planted === "lost-entry")
    store.apply = (bytes) => apply(changed(bytes, ({ entries }) => entries.slice(1)));
  if (planted === "doubled-entry")
    store.apply = (bytes) => apply(changed(bytes, ({ entries }) => withDouble(entries)));
  if (planted === "position-twice")
    store.log = async (query) => {
      const batch = await log(query);
      const isOwn = batch?.origin.startsWith("n1.") === true;
      return batch && isOwn
        ? { ...batch, bytes: changed(batch.bytes, ({ entries }) => withGhost(entries)) }
        : batch;
    };
  if (planted === "changed-body")
    store.apply = (bytes) =>
      apply(
        changed(bytes, ({ entries }) =>
          entries.map((entry) => (entry.key ? { ...entry, body: other } : entry)),
        ),
      );
  if (planted === "claims")
    store.append = async (request) => {
      const answer = await append(request);
      return answer.state === "stored" ? { ...answer, cover: {} } : answer;
    };
}

function spoilHub(store: GlobalStore, planted: StreamsPlanted): void {
  const { ingest } = store;
  if (planted === "hub-hole")
    store.ingest = (cell, bytes) => {
      const batch = decodeBatch(bytes);
      const entries = batch.entries.filter(({ key }) => key !== undefined);
      return ingest(cell, encodeBatch({ ...batch, entries }));
    };
  if (planted === "hub-doubled")
    store.ingest = async (cell, bytes) => {
      const answer = await ingest(cell, bytes);
      await ingest(`${cell}-again`, bytes);
      return answer;
    };
}

/** One without a key stands twice, and the one behind it is gone. */
function withDouble(entries: LogBatch["entries"]): LogBatch["entries"] {
  const at = entries.findIndex(({ key }) => key === undefined);
  const [one, next] = [entries[at], entries[at + 1]];
  if (one === undefined || next === undefined) return entries;
  return entries.with(at + 1, { ...one, position: next.position });
}

/** The last one as if somebody else had written it. */
function withGhost(entries: LogBatch["entries"]): LogBatch["entries"] {
  const last = entries.at(-1);
  if (last?.key === undefined) return entries;
  return entries.with(entries.length - 1, { ...last, key: { ...last.key, producer: "ghost" } });
}
