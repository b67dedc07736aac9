/**
 * The content of segments: unpacked when its checksum is right, and kept for a while. What is found
 * damaged is named (`segment-damaged`), and remembered until it is gone (S3).
 */
import { crc32 } from "node:zlib";
import { SkerryError } from "../../lib/errors.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import { decodePlan, encodePlan, type SegmentPlan } from "../batch/segment-plan.ts";
import { decodeSegment, type EncodedSegment, type Segment } from "../batch/segment.ts";
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
  /** Reads it from the disk, whatever is kept of it, and answers what is wrong with it. */
  check(segment: number): SegmentDamaged | undefined;
  /** Found damaged since the store was opened, and not put together again. */
  damaged(): readonly SegmentDamaged[];
  /** Of a damaged one: `isLost` from now on. False when it was before. */
  giveUp(segment: number): boolean;
  isLost(segment: number): boolean;
  /** It is what was sealed: not found damaged since the store was opened, and never put together again. */
  isSound(segment: number): boolean;
  /** Undefined: it was sealed by an earlier version, or is damaged as well. */
  plan(segment: number): SegmentPlan | undefined;
  /** Inside a transaction. */
  writePlan(segment: number, plan: SegmentPlan): void;
  /** Inside a transaction: reads this content from now on. */
  restore(held: Held, content: EncodedSegment): void;
  /** Inside a transaction. Content that was found damaged stays: what SQLite cannot read it cannot free. */
  delete(segment: number): void;
  /** Inside a transaction that took it away. */
  removed(held: Held): void;
  /** Lets go what nobody has read since this was called last. */
  trim(): void;
  /** Unpacks anew. */
  forget(): void;
}

const cacheBytesMax = 4 * 1024 * 1024;

export function createSegmentContents(
  db: Database,
  tables: { names: Names; directory: SegmentDirectory },
  onDamaged?: (found: SegmentDamaged) => void,
): SegmentContents {
  const { names, directory } = tables;
  const sealed = db.prepare(
    "SELECT s.crc, b.bytes FROM segment s JOIN segment_bytes b ON b.id = s.id WHERE s.id = ?",
  );
  const again = db.prepare("SELECT crc, bytes FROM segment_again WHERE id = ?");
  const insertAgain = db.prepare("INSERT OR REPLACE INTO segment_again VALUES (?, ?, ?)");
  const planOf = db.prepare("SELECT plan, crc FROM segment_plan WHERE id = ?");
  const insertPlan = db.prepare("INSERT OR REPLACE INTO segment_plan VALUES (?, ?, ?)");
  const deletes = ["segment_plan", "segment_again"].map((table) =>
    db.prepare(`DELETE FROM ${table} WHERE id = ?`),
  );
  const deleteSealed = db.prepare("DELETE FROM segment_bytes WHERE id = ?");
  const opened = createOpenedSegments(cacheBytesMax);
  const damagedById = new Map<number, SegmentDamaged>();
  const lost = new Set<number>();

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
    const isNews = !damagedById.has(held.id);
    damagedById.set(held.id, error);
    if (isNews) onDamaged?.(error);
    return error;
  };

  /** Throws what SQLite throws when a page of it is torn. */
  const read = (id: number): Uint8Array => {
    const found = again.get(id) ?? sealed.get(id);
    const bytes = found?.["bytes"] as Uint8Array | undefined;
    if (!bytes || crc32(bytes) !== Number(found?.["crc"])) throw new Error("wrong checksum");
    return bytes;
  };

  const isSound = (id: number) => !damagedById.has(id) && !again.get(id);

  return {
    open: (id) =>
      opened.get(id, () => {
        // Not read again: what SQLite cannot read spoils the transaction it is read in.
        const known = damagedById.get(id);
        if (known) throw known;
        const held = directory.held(id);
        try {
          const segment = decodeSegment(read(id));
          if (segment.ids.length !== held.entries) throw new Error("wrong number of entries");
          return segment;
        } catch (cause) {
          throw damage(held, cause);
        }
      }),
    check(id) {
      try {
        read(id);
        damagedById.delete(id);
        return undefined;
      } catch (cause) {
        opened.delete(id);
        return damage(directory.held(id), cause);
      }
    },
    damaged: () => [...damagedById.values()],
    giveUp(id) {
      if (lost.has(id) || !damagedById.has(id)) return false;
      lost.add(id);
      return true;
    },
    isLost: (id) => lost.has(id),
    isSound,
    plan(id) {
      const row = planOf.get(id);
      const plan = row?.["plan"] as Uint8Array | undefined;
      return plan && crc32(plan) === Number(row?.["crc"]) ? decodePlan(plan) : undefined;
    },
    writePlan(id, plan) {
      const bytes = encodePlan(plan);
      insertPlan.run(id, bytes, crc32(bytes));
    },
    restore(held, { bytes }) {
      insertAgain.run(held.id, bytes, crc32(bytes));
      opened.delete(held.id);
      damagedById.delete(held.id);
      lost.delete(held.id);
    },
    delete(id) {
      const wasSound = isSound(id);
      for (const statement of deletes) statement.run(id);
      if (wasSound) deleteSealed.run(id);
    },
    removed(held) {
      lost.delete(held.id);
      opened.delete(held.id);
      damagedById.delete(held.id);
    },
    trim: opened.trim,
    forget: () => opened.clear(),
  };
}
