/**
 * Applies what is stored in causal order: an operation once everything that its writer knew has been
 * applied, each log in its own order; what waits is looked at again whenever another log has moved.
 */
import type { Documents } from "./documents.ts";
import type { HybridClock } from "./hybrid-clock.ts";
import type { Context } from "./merge.ts";
import { knownChanges, readOperation, type Dot, type Operation } from "./operation.ts";
import type { Origins } from "./origins.ts";
import type { DocumentTables, LoggedOperation, OriginRow } from "./tables.ts";

export interface CausalOrder {
  /** Applies what waits and no longer has to; `arrived` is what was stored last, of one origin. */
  drain(arrived?: { row: OriginRow; operations: readonly Operation[] }): void;
}

/** Bytes of a log that are read at a time. */
export const replayBytes = 1024 * 1024;
/** The kinds of change of this version, as one text. */
export const knownText = [...knownChanges].join();

export function createCausalOrder(
  deps: { tables: DocumentTables; origins: Origins; documents: Documents; clock: HybridClock },
  options: {
    /** Logs have operations that cover several positions, which wait for nothing. */
    covering: boolean;
  },
): CausalOrder {
  const { tables, origins, documents, clock } = deps;

  /** `end` is the last position that it stands for. */
  const apply = (row: OriginRow, { operation, end }: Ending): void => {
    for (const [other, upto] of Object.entries(operation.seen)) {
      row.seen.set(other, upto);
      tables.saveSeen(row, other, upto);
    }
    if (operation.covers !== undefined) {
      row.applied = end;
      return;
    }
    const sequence = end;
    const context: Context = {
      origin: row.name,
      sequence,
      hlc: operation.hlc,
      covers: (dot: Dot) =>
        dot.origin === row.name
          ? dot.sequence <= sequence
          : dot.sequence <= (row.seen.get(dot.origin) ?? 0),
    };
    for (const write of operation.writes) {
      if (!documents.apply(write, context)) tables.setLeftOut(knownText);
    }
    documents.save(operation.writes);
    const key = operation.once ?? operation.key;
    if (key !== undefined) tables.addKey(key);
    row.applied = sequence;
    row.hlc = operation.hlc;
    clock.observe(operation.hlc);
  };
  const isApplied = ([other, upto]: readonly [string, number]) =>
    (origins.find(other)?.applied ?? 0) >= upto;
  const isReady = (row: OriginRow, { operation: { seen, covers } }: Ending) =>
    covers !== undefined ||
    (Object.entries(seen).every(isApplied) &&
      // What covers positions did not wait: who comes behind it waits for all that it had seen.
      (!options.covering || row.seen.entries().every(isApplied)));

  return {
    drain(arrived) {
      /** What is next of each origin, last first. */
      const queues = new Map<OriginRow, Ending[]>();
      if (arrived && arrived.row.applied + positionsOf(arrived.operations) === arrived.row.stored) {
        let end = arrived.row.applied;
        const queue = arrived.operations.map((operation) => {
          end += operation.covers ?? 1;
          return { operation, end };
        });
        queues.set(arrived.row, queue.reverse());
      }
      const headOf = (row: OriginRow): Ending | undefined => {
        const queue = queues.get(row) ?? [];
        queues.set(row, queue);
        // Of a log that is forgotten from there on, a snapshot will bring it further.
        if (queue.length === 0 && row.applied < row.stored && row.applied >= row.floor) {
          const logged = tables.operations(row, row.applied + 1, replayBytes);
          queue.push(...logged.map(endingOf).reverse());
        }
        return queue.at(-1);
      };
      const behind = new Set(origins.rows().filter((row) => row.applied < row.stored));
      const moved = new Set<OriginRow>();
      for (let isMoving = true; isMoving;) {
        isMoving = false;
        for (const row of behind) {
          for (let head = headOf(row); head && isReady(row, head); head = headOf(row)) {
            apply(row, head);
            queues.get(row)?.pop();
            moved.add(row);
            isMoving = true;
          }
        }
      }
      for (const row of moved) tables.saveOrigin(row);
    },
  };
}

type Ending = { readonly operation: Operation; readonly end: number };

const endingOf = ({ sequence, text }: LoggedOperation): Ending => {
  const operation = readOperation(text);
  return { operation, end: sequence + (operation.covers ?? 1) - 1 };
};

const positionsOf = (operations: readonly Operation[]): number =>
  operations.reduce((sum, { covers }) => sum + (covers ?? 1), 0);
