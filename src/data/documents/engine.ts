/**
 * The log and the documents made of it. Pieces of other stores' logs are stored as they come, each
 * log without gaps; an operation is applied once everything that its writer knew has been. So the
 * documents are a function of the set of operations, whatever the order of their arrival, and a
 * store that holds all that a vector covers can apply all of it.
 * Every call runs inside a transaction of its owner; `forget` after one that was undone.
 */
import type { Log } from "../../lib/log.ts";
import type { ApplyAnswer, Vector } from "../streams/store.ts";
import {
  decodeOperations,
  encodeOperations,
  requireSendable,
  type DecodedOperations,
  type OperationBatch,
} from "./codec.ts";
import type { Claims } from "./claims.ts";
import { createCausalOrder, knownText, replayBytes } from "./causal-order.ts";
import { createDocuments, type Documents } from "./documents.ts";
import type { HybridClock } from "./hybrid-clock.ts";
import type { Position } from "../../api/records/index.ts";
import type { OriginNumbers } from "./encode-state.ts";
import type { JsonObject } from "./json.ts";
import type { Context } from "./merge.ts";
import {
  readOperation,
  requireReadable,
  type LoggedKey,
  type Operation,
  type Write,
} from "./operation.ts";
import { createOrigins } from "./origins.ts";
import type { DocumentTables, OriginRow } from "./tables.ts";
import { truncate, type Truncated, type TruncateLimits } from "./truncate.ts";

export interface Engine {
  readonly documents: Documents;
  readonly own: OriginRow;
  /** What a local write stands in: it knows of everything that was applied. */
  context(): Context;
  /**
   * Logs what was made with `context`; the documents are saved already. Throws `batch-too-large` and
   * `invalid-document`, for its transaction to be undone, where other stores could not take it.
   */
  commit(context: Context, writes: readonly Write[], key: LoggedKey | undefined): void;
  /** A piece of another store's log. Throws `invalid-batch`. */
  take(bytes: Uint8Array): ApplyAnswer;
  store(piece: DecodedOperations): ApplyAnswer;
  log(query: PieceQuery): LogPiece | undefined;
  /** What `log` would encode. */
  texts(query: PieceQuery): OperationBatch | undefined;
  /** By origin, everything that is stored. */
  vector(): Vector;
  /** By origin, everything that is in the documents. */
  applied(): Vector;
  readonly waiting: number;
  /** By origin, up to where the log is forgotten. */
  floors(): Vector;
  readonly logBytes: number;
  /** Documents went with what they were made of: another store's snapshot is to bring them back. */
  readonly isBehindLog: boolean;
  /** Forgets what everybody has, and more when the log is larger; a piece of it at a time. */
  truncate(limits: TruncateLimits): Truncated;
  /** In terms of positions, what a snapshot of all documents is of. */
  positions(): readonly Position[];
  /** After the documents were joined with those of a store at these positions. */
  adopt(positions: readonly Position[]): void;
  readonly numbers: OriginNumbers;
  /**
   * Goes on under another name, when others use positions of this log behind `same` for other
   * operations. What this store wrote there becomes new writes: each document as it is here now.
   * `isForgotten`: others have documents only, and these may have counted some of it already.
   */
  rotate(
    name: string,
    past: { same: number; isForgotten: boolean; write: (document: Rescued) => void },
  ): void;
  /** Makes all documents again from the log; of one that was truncated, once a snapshot is here. */
  rebuild(): void;
  /** Once after opening: applies what an earlier version stored without knowing what it means. */
  catchUp(): void;
  forget(): void;
}

export type PieceQuery = {
  readonly origin: string;
  readonly from: number;
  readonly bytesMax: number;
};

export type LogPiece = {
  readonly origin: string;
  readonly from: number;
  readonly to: number;
  readonly entries: number;
  readonly bytes: Uint8Array;
};

/** `body` undefined: it is deleted. */
export type Rescued = {
  readonly collection: string;
  readonly id: string;
  readonly body: JsonObject | undefined;
};

export function createEngine(
  deps: { tables: DocumentTables; clock: HybridClock; log: Log; claims?: Claims },
  options: {
    origin: string;
    node: string;
    /** Its logs have operations that cover several positions, which wait for nothing. */
    covering?: boolean;
  },
): Engine {
  const { tables, clock, log, claims } = deps;
  let ownName = options.origin;

  const origins = createOrigins(tables);
  const documents = createDocuments({ tables, claims }, origins.numbers);
  const order = createCausalOrder(
    { tables, origins, documents, clock },
    { covering: options.covering === true },
  );
  const load = () => {
    ownName = tables.own() ?? ownName;
    origins.load();
    origins.row(ownName);
    // The persisted maximum: what this node ever gave out, and what it took over.
    const mine = [...origins.rows()].filter(({ name }) => name.startsWith(`${options.node}.`));
    clock.restore(Math.max(0, ...mine.map(({ hlc }) => hlc)));
    for (const { hlc } of origins.rows()) clock.observe(hlc);
    documents.forget();
  };
  load();

  const engine: Engine = {
    documents,
    get own() {
      return origins.row(ownName);
    },
    context() {
      const { name, applied } = engine.own;
      return {
        origin: name,
        sequence: applied + 1,
        hlc: clock.next(),
        covers: () => true,
      };
    },
    commit({ sequence, hlc }, writes, key) {
      requireReadable(writes);
      const { own } = engine;
      const seen: Record<string, number> = {};
      for (const { name, applied } of origins.rows()) {
        if (name === own.name || applied <= (own.seen.get(name) ?? 0)) continue;
        seen[name] = applied;
        own.seen.set(name, applied);
        tables.saveSeen(own, name, applied);
      }
      const operation: Operation = { hlc, seen, writes, ...key };
      const text = JSON.stringify(operation);
      requireSendable(text);
      tables.addOperation(own, { sequence, text });
      own.bytes += text.length;
      if (key) tables.addKey(key.once);
      own.stored = sequence;
      own.applied = sequence;
      own.hlc = hlc;
      tables.saveOrigin(own);
    },
    take: (bytes) => engine.store(decodeOperations(bytes)),
    store({ origin, from, texts, operations }) {
      const known = origins.find(origin)?.stored ?? 0;
      if (origin === ownName) return { state: "applied", origin, top: known, stored: 0 };
      if (from > known + 1) return { state: "gap", origin, top: known, stored: 0 };
      const row = origins.row(origin);
      const fresh: Operation[] = [];
      let end = from - 1;
      for (const [index, whole] of operations.entries()) {
        end += whole.covers ?? 1;
        if (end <= row.stored) continue;
        const lacking = end - row.stored;
        const isCut = whole.covers !== undefined && lacking < whole.covers;
        const operation = isCut ? { ...whole, covers: lacking } : whole;
        const text = isCut ? JSON.stringify(operation) : (texts[index] ?? "");
        tables.addOperation(row, { sequence: row.stored + 1, text });
        row.bytes += text.length;
        row.stored = end;
        fresh.push(operation);
      }
      if (fresh.length > 0) {
        tables.saveOrigin(row);
        order.drain({ row, operations: fresh });
      }
      return { state: "applied", origin, top: row.stored, stored: fresh.length };
    },
    texts({ origin, from, bytesMax }) {
      const row = origins.find(origin);
      if (!row || from > row.stored) return undefined;
      const start = Math.max(1, from);
      if (start <= row.floor) return undefined;
      const texts = tables.operations(row, start, bytesMax).map(({ text }) => text);
      return texts.length === 0 ? undefined : { origin, from: start, texts };
    },
    log(query) {
      const piece = engine.texts(query);
      if (!piece) return undefined;
      const { origin, from, texts } = piece;
      const to = from + texts.length - 1;
      return { origin, from, to, entries: texts.length, bytes: encodeOperations(piece) };
    },
    vector: () => origins.vectorOf(({ stored }) => stored),
    applied: () => origins.vectorOf(({ applied }) => applied),
    get waiting() {
      return origins.rows().reduce((sum, { stored, applied }) => sum + stored - applied, 0);
    },
    numbers: origins.numbers,
    floors: () => origins.vectorOf(({ floor }) => floor),
    get logBytes() {
      return origins.rows().reduce((sum, { bytes }) => sum + bytes, 0);
    },
    get isBehindLog() {
      return origins.rows().some(({ applied, floor }) => applied < floor);
    },
    truncate: (limits) => truncate({ tables, rows: [...origins.rows()] }, limits),
    positions: () =>
      [...origins.rows()]
        .filter(({ applied }) => applied > 0)
        .map(({ name, applied, hlc, seen }) => ({
          name,
          applied,
          hlc,
          seen: Object.fromEntries(seen),
        })),
    adopt(positions) {
      for (const { name, applied, hlc, seen } of positions) {
        const row = origins.row(name);
        if (applied <= row.applied) continue;
        row.applied = applied;
        row.hlc = hlc;
        for (const [other, upto] of Object.entries(seen)) {
          row.seen.set(other, upto);
          tables.saveSeen(row, other, upto);
        }
        if (row.stored < applied) {
          // What is here of its log would have a gap behind it.
          row.bytes -= tables.dropOperations(row, 0);
          row.stored = applied;
          row.floor = applied;
        }
        tables.saveOrigin(row);
        clock.observe(hlc);
      }
      order.drain();
    },
    rotate(name, { same, isForgotten, write }) {
      const before = engine.own;
      const rescued = new Map<string, Rescued>();
      for (let from = same + 1; from <= before.stored;) {
        const logged = tables.operations(before, from, replayBytes);
        from += Math.max(1, logged.length);
        for (const { collection, id } of logged.flatMap(({ text }) => readOperation(text).writes)) {
          const { body } = documents.shown(collection, id);
          rescued.set(`${collection}\n${id}`, { collection, id, body });
        }
      }
      tables.setOwn(name);
      ownName = name;
      origins.row(name);
      if (before.stored === same) return;
      before.bytes -= tables.dropOperations(before, same);
      before.stored = same;
      tables.saveOrigin(before);
      engine.rebuild();
      // Written onto nothing they would count twice what others have as well.
      if (engine.isBehindLog || isForgotten)
        tables.setRescued(JSON.stringify([...rescued.values()]));
      else for (const document of rescued.values()) write(document);
      log.info("writes since the start were made again under the new origin", {
        origin: name,
        documents: rescued.size,
      });
    },
    rebuild() {
      tables.clearDocuments();
      claims?.clear();
      documents.drop();
      for (const row of origins.rows()) {
        row.applied = 0;
        row.seen.clear();
        tables.saveOrigin(row);
      }
      order.drain();
    },
    catchUp() {
      const leftOut = tables.leftOut();
      if (leftOut === undefined || leftOut === knownText) return;
      if (Object.keys(engine.floors()).length === 0) engine.rebuild();
      else
        log.error(
          "documents lack what an earlier version did not know, and their log is truncated",
          {
            hint: "stop this node's agent, move documents.db away and start it: other nodes fill a new one",
          },
        );
    },
    forget: load,
  };
  return engine;
}
