/**
 * What a segment is put together again from when its content is damaged: the place of each entry in
 * it, so that entries fetched again stand where they stood and no cursor misses one (D5), and the
 * checksum of the whole. It lies apart from the content. Positions are counted by origin: most
 * differences are 1, and a thousand entries cost some ten to some hundred bytes.
 */
import {
  differences,
  differencesBy,
  packFrame,
  requireColumns,
  sums,
  sumsBy,
  unpackFrame,
} from "./frame.ts";
import type { SegmentColumns } from "./segment.ts";

export type SegmentPlan = {
  /** Ascending by id. */
  readonly places: Pick<SegmentColumns, "ids" | "origins" | "sequences">;
  /** As `encodeSegment` says. */
  readonly sum: number;
};

type Header = {
  readonly id: readonly number[];
  readonly origin: readonly number[];
  /** Counted from the same origin's before. */
  readonly position: readonly number[];
  readonly sum: number;
};

const unpackedBytesMax = 4 * 1024 * 1024;

export function encodePlan({ places: { ids, origins, sequences }, sum }: SegmentPlan): Buffer {
  const header: Header = {
    id: differences(ids),
    origin: origins,
    position: differencesBy(origins, sequences),
    sum,
  };
  return packFrame(header, []);
}

/** Of bytes whose checksum was found right; throws on anything that `encodePlan` did not make. */
export function decodePlan(bytes: Uint8Array): SegmentPlan {
  const { id, origin, position, sum } = unpackFrame(bytes, unpackedBytesMax).header as Header;
  const places = { ids: sums(id), origins: origin, sequences: sumsBy(origin, position) };
  requireColumns({ summed: [places.ids], others: [origin, places.sequences] });
  if (!Number.isSafeInteger(sum)) throw new Error("the sum of a plan is no whole number");
  return { places, sum };
}
