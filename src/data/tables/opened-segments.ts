/** Segments that were unpacked lately, within a bound in bytes: the least recently used goes first. */
import type { Segment } from "../batch/segment.ts";

export interface OpenedSegments {
  /** What `unpack` throws is thrown, and nothing is kept. */
  get(id: number, unpack: () => Segment): Segment;
  delete(id: number): void;
  clear(): void;
}

export function createOpenedSegments(bytesMax: number): OpenedSegments {
  /** In the order of use. */
  const opened = new Map<number, Segment>();
  let bytes = 0;

  return {
    get(id, unpack) {
      const known = opened.get(id);
      if (known) {
        opened.delete(id);
        opened.set(id, known);
        return known;
      }
      const segment = unpack();
      opened.set(id, segment);
      bytes += segment.bytes;
      for (const [oldId, old] of opened) {
        if (bytes <= bytesMax || oldId === id) break;
        opened.delete(oldId);
        bytes -= old.bytes;
      }
      return segment;
    },
    delete(id) {
      bytes -= opened.get(id)?.bytes ?? 0;
      opened.delete(id);
    },
    clear() {
      opened.clear();
      bytes = 0;
    },
  };
}
