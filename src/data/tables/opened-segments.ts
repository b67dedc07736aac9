/**
 * Segments that were unpacked lately, within a bound in bytes: the least recently used goes first, and
 * what nobody reads any more goes in time.
 */
import type { Segment } from "../batch/segment.ts";

export interface OpenedSegments {
  /** What `unpack` throws is thrown, and nothing is kept. */
  get(id: number, unpack: () => Segment): Segment;
  delete(id: number): void;
  /** Lets go what was not read since this was called last. */
  trim(): void;
  clear(): void;
}

export function createOpenedSegments(bytesMax: number): OpenedSegments {
  /** In the order of use. */
  const opened = new Map<number, Segment>();
  let bytes = 0;
  const readLately = new Set<number>();
  const drop = (id: number): void => {
    bytes -= opened.get(id)?.bytes ?? 0;
    opened.delete(id);
    readLately.delete(id);
  };

  return {
    get(id, unpack) {
      const known = opened.get(id);
      if (known) {
        opened.delete(id);
        opened.set(id, known);
        readLately.add(id);
        return known;
      }
      const segment = unpack();
      opened.set(id, segment);
      readLately.add(id);
      bytes += segment.bytes;
      for (const oldId of opened.keys()) {
        if (bytes <= bytesMax || oldId === id) break;
        drop(oldId);
      }
      return segment;
    },
    delete: drop,
    trim() {
      for (const id of opened.keys()) if (!readLately.has(id)) drop(id);
      readLately.clear();
    },
    clear() {
      opened.clear();
      readLately.clear();
      bytes = 0;
    },
  };
}
