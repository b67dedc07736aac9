/** Damaged segments in the storage thread: see `repairs.ts`. */
import type { StoredEntry } from "../../api/index.ts";
import type { Log } from "../../lib/log.ts";
import { createSignals } from "../../lib/signals.ts";
import type { Writer } from "../../runtime/sqlite/index.ts";
import { decodeBatch, encodeBatch } from "../batch/codec.ts";
import type { SegmentPlan } from "../batch/segment-plan.ts";
import { columnsOfRows, encodeSegment, type SealedRow } from "../batch/segment.ts";
import type { StreamRow } from "../tables/names.ts";
import { SegmentDamaged } from "../tables/segment-contents.ts";
import type { Tables } from "../tables/tables.ts";
import {
  copiedMax,
  type Damage,
  type PositionRange,
  type RestoreAnswer,
  type SegmentRepairs,
} from "./repairs.ts";

export type LocalRepairs = SegmentRepairs & {
  /** For `createTables`. */
  found(damaged: SegmentDamaged): void;
};

/** `tables` is called only after the store is open. */
export function createSegmentRepairs(
  deps: { log: Log; writer: () => Writer; tables: () => Tables },
  { scope }: { scope: string },
): LocalRepairs {
  const { log, writer, tables } = deps;
  const signals = createSignals<{ damaged: Damage }>({
    onListenerError: (error) => log.error("a listener of the stream store failed", { error }),
  });

  const damageOf = ({ held, stream, message }: SegmentDamaged): Damage => {
    const { names, segments } = tables();
    const ranges = segments.piecesOf(held).map(({ origin, firstSequence, lastSequence }) => ({
      origin: names.originById(origin).name,
      from: firstSequence,
      to: lastSequence,
    }));
    const { id, entries, fromMs, toMs } = held;
    return { segment: id, stream, entries, ranges, fromMs, toMs, message };
  };

  /** What stands at these places now; a string of places that nothing was given for becomes a range. */
  const place = (
    { ids, origins, sequences }: SegmentPlan["places"],
    stream: StreamRow,
    copies: readonly Uint8Array[],
  ): { rows: readonly SealedRow[]; lacking: readonly PositionRange[] } => {
    const { names } = tables();
    const given = new Map<string, StoredEntry>();
    for (const entry of copies.flatMap((bytes) => decodeBatch(bytes).entries)) {
      const at = `${entry.position.origin}/${entry.position.sequence}`;
      if (entry.stream === stream.name && !given.has(at)) given.set(at, entry);
    }
    const rows: SealedRow[] = [];
    const lacking = new Map<string, PositionRange>();
    for (const [index, id] of ids.entries()) {
      const [origin = 0, sequence = 0] = [origins[index], sequences[index]];
      const { name } = names.originById(origin);
      const entry = given.get(`${name}/${sequence}`);
      const producer = entry?.key && names.findProducer(stream, entry.key.producer);
      if (!entry || (entry.key && producer === undefined)) {
        const range = lacking.get(name) ?? { origin: name, from: sequence, to: sequence };
        lacking.set(name, {
          origin: name,
          from: Math.min(range.from, sequence),
          to: Math.max(range.to, sequence),
        });
        continue;
      }
      const { key, atMs, body } = entry;
      const placed =
        key && producer !== undefined
          ? { producer, epoch: key.epoch, sequence: key.sequence }
          : undefined;
      rows.push({ id, origin, sequence, key: placed, atMs, body });
    }
    return { rows, lacking: [...lacking.values()] };
  };

  return {
    found(damaged) {
      const { message } = damaged;
      log.error("a segment is damaged; it is fetched again from where there is a copy", {
        message,
        cause: damaged.cause,
      });
      signals.emit("damaged", damageOf(damaged));
    },
    damage: async () => tables().segments.damaged().map(damageOf),
    async copy({ origin: name, stream: streamName, from, to }) {
      const { names, readLog } = tables();
      const origin = names.findOrigin(scope, name);
      const stream = names.findStream(scope, streamName);
      if (!origin || !stream) return encodeBatch({ origin: name, from, to, entries: [] });
      const { columns } = readLog(origin, [stream], { from, to }, copiedMax, "gap");
      return encodeBatch({ origin: name, from, to, columns });
    },
    async restore({ segment, copies, exact }): Promise<RestoreAnswer> {
      const { names, segments, sealing } = tables();
      const damaged = segments.damaged().find(({ held }) => held.id === segment);
      if (!damaged) return { state: "restored", entries: 0 };
      const plan = segments.plan(segment);
      if (!plan) return { state: "no-plan" };
      const { held } = damaged;
      const { rows, lacking } = place(plan.places, names.streamById(held.stream), copies);
      if (lacking.length > 0) return { state: "lacking", ranges: lacking };
      const columns = columnsOfRows(rows);
      const content = encodeSegment(columns);
      if (exact && content.sum !== plan.sum) return { state: "unlike" };
      await writer().write(() => sealing.restore(held, columns, content));
      log.info("a damaged segment is whole again", {
        stream: damaged.stream,
        entries: rows.length,
      });
      return { state: "restored", entries: rows.length };
    },
    async giveUp(segment) {
      const { segments } = tables();
      const damaged = segments.damaged().find(({ held }) => held.id === segment);
      if (!damaged || !segments.giveUp(segment)) return;
      const { message } = damaged;
      log.error("no node and no hub has a copy of a damaged segment: the log goes on without it", {
        message,
      });
    },
    on: (event, listener) => signals.on(event, listener),
  };
}
