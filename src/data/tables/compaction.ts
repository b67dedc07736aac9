/**
 * Segments that are small, put together: what comes a few hundred at a time is sealed as it comes
 * (`arrivals.ts`), and compresses to half when a thousand are one. Reading and packing is done outside a
 * transaction, as sealing does.
 */
import type { Database } from "../../runtime/sqlite/index.ts";
import {
  encodeSegment,
  joinColumns,
  type EncodedSegment,
  type SegmentColumns,
} from "../batch/segment.ts";
import type { Names, StreamRow } from "./names.ts";
import type { Sealing, SealLimits } from "./sealing.ts";
import { SegmentDamaged } from "./segment-contents.ts";
import type { Held } from "./segment-directory.ts";
import { idsOf, type SegmentWrites } from "./segment-writes.ts";
import type { Segments } from "./segments.ts";

/** Packed and not written yet. */
export type Joined = {
  readonly group: readonly Held[];
  readonly rows: SegmentColumns;
  readonly content: EncodedSegment;
  readonly generation: number;
};

/** Lines of the directory looked at in one go: a millisecond. */
const lookedPerStep = 100;

export interface Compaction {
  /**
   * The next segments of this stream that follow each other and fit into one, and no more of them do,
   * yielding between some for others' sake. Undefined: there are none, until more is sealed.
   */
  finding(stream: StreamRow, limits: SealLimits): Generator<void, readonly Held[] | undefined>;
  /** Packs them, yielding between two for others' sake; undefined when one of them is damaged. */
  joining(group: readonly Held[]): Generator<void, Joined | undefined>;
  /** Inside a transaction: false when one of them is not what it was. */
  join(joined: Joined): boolean;
}

export function createCompaction(
  db: Database,
  tables: { names: Names; segments: Segments; sealing: Sealing; writes: SegmentWrites },
): Compaction {
  const { names, segments, sealing, writes } = tables;
  const moveAliases = db.prepare(
    "UPDATE alias SET segment = ? WHERE entry BETWEEN ? AND ? AND segment = ?",
  );
  /** By stream: what ends here or before it is not looked at again. */
  const doneByStream = new Map<number, number>();

  /** With what each entry costs besides. */
  const bodyBytes = (group: readonly Held[]) =>
    group.flatMap(segments.piecesOf).reduce((sum, { bytes }) => sum + bytes, 0);
  const isThere = ({ id, lastId, stream }: Held) => {
    const found = segments.after(names.streamById(stream), id - 1);
    return found?.id === id && found.lastId === lastId && segments.isSound(id);
  };

  return {
    *finding(stream, { entriesMax, bytesMax, accept }) {
      let group: Held[] = [];
      let entries = 0;
      for (let looked = 1, at = doneByStream.get(stream.id) ?? 0; ; looked++) {
        const held = segments.after(stream, at);
        if (!held) return undefined;
        at = held.lastId;
        const isSound = segments.isSound(held.id);
        const fits =
          isSound &&
          (group.length === 0 ||
            (entries + held.entries <= entriesMax &&
              accept({ firstId: group[0]?.id ?? held.id, lastId: held.lastId }) &&
              bodyBytes([...group, held]) <= bytesMax));
        if (!fits) {
          doneByStream.set(stream.id, isSound ? held.id - 1 : held.lastId);
          if (group.length > 1) return group;
          [group, entries] = [[], 0];
        }
        if (isSound) {
          group.push(held);
          entries += held.entries;
        }
        if (entries >= entriesMax) {
          doneByStream.set(stream.id, held.lastId);
          if (group.length > 1) return group;
          [group, entries] = [[], 0];
        }
        if (looked % lookedPerStep === 0) yield;
      }
    },

    *joining(group) {
      const { generation } = sealing;
      try {
        let rows: SegmentColumns | undefined;
        for (const { id } of group) {
          const segment = segments.open(id);
          rows = rows ? joinColumns(rows, segment) : segment;
          yield;
        }
        return rows && { group, rows, content: encodeSegment(rows), generation };
      } catch (error) {
        if (!(error instanceof SegmentDamaged)) throw error;
        // It is known to be now: those beside it are looked at again.
        const [first] = group;
        if (first) doneByStream.set(first.stream, first.id - 1);
        return undefined;
      }
    },

    join({ group, rows, content, generation }) {
      const [first] = group;
      if (!first || generation !== sealing.generation || !group.every(isThere)) return false;
      const stream = names.streamById(first.stream);
      const [id] = idsOf(rows);
      for (const held of group) {
        writes.drop(held, writes.runsIn(held));
        segments.removed(held);
        if (held.id !== id) moveAliases.run(id, held.id, held.lastId, held.id);
        stream.bytes -= held.bytes;
      }
      writes.write(stream, rows, content);
      names.writeCounters();
      return true;
    },
  };
}
