/** The entry that every contestant takes: one JSON object of 121 bytes, the same bytes each time. */
export const payload = Buffer.from(
  JSON.stringify({
    site: "cold-room-4",
    celsius: 3.25,
    humidity: 61.4,
    door: "closed",
    battery: 0.875,
    firmware: "2.11.4",
    note: "within",
  }),
);

const firstSequence = 1_000_000_000;
let nextSequence = firstSequence;

/** The same with a `$key` (a producer's own number), never used twice; all of one length. */
export function keyedPayload(producer: string): Buffer {
  const key = { producer, epoch: 1, sequence: nextSequence++ };
  return Buffer.from(`{"$key":${JSON.stringify(key)},${payload.toString("utf8", 1)}`);
}
