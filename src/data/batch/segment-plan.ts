/**
 * What a segment is put together again from when its content is damaged: the place of each entry in
 * it, so that entries fetched again stand where they stood and no cursor misses one (D5), and the
 * checksum of the whole. It lies apart from the content. Positions are counted by origin: most
 * differences are 1, and a thousand entries cost some ten to some hundred bytes.
 */
import { differences, packFrame, sums, unpackFrame } from "./frame.ts";
import type { SealedRow } from "./segment.ts";

export type Place = Pick<SealedRow, "id" | "origin" | "sequence">;

export type SegmentPlan = {
  /** Ascending by id. */
  readonly places: readonly Place[];
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

export function encodePlan({ places, sum }: SegmentPlan): Buffer {
  const header: Header = {
    id: differences(places.map(({ id }) => id)),
    origin: places.map(({ origin }) => origin),
    position: byOrigin(
      places,
      ({ sequence }, last) => sequence - last,
      ({ sequence }) => sequence,
    ),
    sum,
  };
  return packFrame(header, []);
}

/** Of bytes whose checksum was found right. */
export function decodePlan(bytes: Uint8Array): SegmentPlan {
  const header = unpackFrame(bytes, unpackedBytesMax).header as Header;
  const ids = sums(header.id);
  const counted = header.position.map((difference, index) => ({
    origin: header.origin[index] ?? 0,
    difference,
  }));
  const positions = byOrigin(
    counted,
    ({ difference }, last) => difference + last,
    (_, result) => result,
  );
  const places = counted.map(({ origin }, index) => ({
    id: ids[index] ?? 0,
    origin,
    sequence: positions[index] ?? 0,
  }));
  return { places, sum: header.sum };
}

/** Each of `items` by what was kept of the last one of its origin. */
function byOrigin<T extends { readonly origin: number }>(
  items: readonly T[],
  of: (item: T, last: number) => number,
  keep: (item: T, result: number) => number,
): number[] {
  const lastByOrigin = new Map<number, number>();
  return items.map((item) => {
    const result = of(item, lastByOrigin.get(item.origin) ?? 0);
    lastByOrigin.set(item.origin, keep(item, result));
    return result;
  });
}
