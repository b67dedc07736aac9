/**
 * The content of segments: unpacked when its checksum is right, and kept for a while. What is found
 * damaged is named (`segment-damaged`), and remembered until it is gone (S3).
 */
import { crc32 } from "node:zlib";
import { SkerryError } from "../../lib/errors.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import { decodeSegment, type Segment } from "../batch/segment.ts";
import type { Names } from "./names.ts";
import { createOpenedSegments } from "./opened-segments.ts";
import type { Held, SegmentDirectory } from "./segment-directory.ts";

export class SegmentDamaged extends SkerryError {
  readonly held: Held;
  readonly stream: string;
  constructor(held: Held, where: { stream: string; positions: string }, cause: unknown) {
    const times = [held.fromMs, held.toMs].map((ms) => new Date(ms).toISOString()).join(" to ");
    super({
      code: "segment-damaged",
      message: `stream ${where.stream}: ${held.entries} entries of ${times} (${where.positions}) are damaged on this node's disk`,
      hint: "check the disk; other nodes and the hub hold copies of what they acknowledged",
      cause,
    });
    this.held = held;
    this.stream = where.stream;
  }
}

export interface SegmentContents {
  /** Throws `segment-damaged`. */
  open(segment: number): Segment;
  /** Found damaged since the store was opened. */
  damaged(): readonly SegmentDamaged[];
  /** Inside a transaction that took it away. */
  removed(held: Held): void;
  /** Unpacks anew. */
  forget(): void;
}

const cacheBytesMax = 4 * 1024 * 1024;

export function createSegmentContents(
  db: Database,
  tables: { names: Names; directory: SegmentDirectory },
): SegmentContents {
  const { names, directory } = tables;
  const bytesOf = db.prepare(
    "SELECT s.crc, b.bytes FROM segment s JOIN segment_bytes b ON b.id = s.id WHERE s.id = ?",
  );
  const opened = createOpenedSegments(cacheBytesMax);
  const damagedById = new Map<number, SegmentDamaged>();

  const damage = (held: Held, cause: unknown): SegmentDamaged => {
    const positions = directory
      .piecesOf(held)
      .map(
        ({ origin, firstSequence, lastSequence }) =>
          `${names.originById(origin).name} ${firstSequence}-${lastSequence}`,
      )
      .join(", ");
    const { name } = names.streamById(held.stream);
    const error = new SegmentDamaged(held, { stream: name, positions }, cause);
    damagedById.set(held.id, error);
    return error;
  };

  return {
    open: (id) =>
      opened.get(id, () => {
        const held = directory.held(id);
        const found = bytesOf.get(id);
        const bytes = found?.["bytes"] as Uint8Array | undefined;
        try {
          if (!bytes || crc32(bytes) !== Number(found?.["crc"])) throw new Error("wrong checksum");
          const segment = decodeSegment(bytes);
          if (segment.ids.length !== held.entries) throw new Error("wrong number of entries");
          return segment;
        } catch (cause) {
          throw damage(held, cause);
        }
      }),
    damaged: () => [...damagedById.values()],
    removed(held) {
      opened.delete(held.id);
      damagedById.delete(held.id);
    },
    forget: () => opened.clear(),
  };
}
