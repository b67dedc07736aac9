/**
 * Where a transaction leaves its mark. Each one in flight holds a key of its own (a slot) and writes
 * its id there, on the condition that nobody wrote there before: so the same transaction may be sent
 * again when its outcome is unknown, to any member, and is applied at most once; and what stands in
 * the slot tells whether it was. Slots are used again and again, so that their number stays small.
 */
import { unavailable } from "../checks.ts";
import { asBytes, asText, ownPrefix } from "./history.ts";
import type { WireKeyValue } from "./client/messages.ts";

/** Transactions in flight. */
const slotsMax = 128;
const waitingMax = 10_000;

export type Slot = {
  readonly key: Uint8Array;
  /** etcd's revision of the last write, as far as is known; 0: never. */
  modRevision: number;
};

export interface Slots {
  /** Throws `ledger-unavailable` when thousands wait already, or the signal's reason. */
  take(signal?: AbortSignal): Promise<Slot>;
  give(slot: Slot): void;
}

/** The slots of the server `name`, which no other may use at the same time. */
export const slotsPrefix = (name: string) => `${ownPrefix}meta/operations/${name}/`;

export function createSlots(options: { name: string; existing: readonly WireKeyValue[] }): Slots {
  const prefix = slotsPrefix(options.name);
  const revisions = new Map(
    options.existing.map(({ key, modRevision }) => [asText(key), modRevision]),
  );
  const free: Slot[] = [];
  const waiting: ((slot: Slot) => void)[] = [];
  let made = 0;

  const make = (): Slot => {
    const key = `${prefix}${made++}`;
    return { key: asBytes(key), modRevision: revisions.get(key) ?? 0 };
  };

  return {
    take(signal) {
      const slot = free.shift() ?? (made < slotsMax ? make() : undefined);
      if (slot) return Promise.resolve(slot);
      if (waiting.length >= waitingMax)
        return Promise.reject(
          unavailable(`${waitingMax} transactions wait for the ledger already`),
        );
      return new Promise<Slot>((resolve, reject) => {
        const onAbort = () => {
          waiting.splice(waiting.indexOf(onSlot), 1);
          reject(signal?.reason as Error);
        };
        const onSlot = (given: Slot) => {
          signal?.removeEventListener("abort", onAbort);
          resolve(given);
        };
        signal?.addEventListener("abort", onAbort, { once: true });
        waiting.push(onSlot);
      });
    },
    // Taken from the other end: one whose outcome is unknown rests for as long as there are others.
    give(slot) {
      const next = waiting.shift();
      if (next) next(slot);
      else free.push(slot);
    },
  };
}
