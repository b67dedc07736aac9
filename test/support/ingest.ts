/** A store in memory for ingest's tests: answers as told, remembers what it holds and when. */
import type { AppendOutcome, DurabilityLevel, EntryInput } from "../../src/api/index.ts";
import type { Append } from "../../src/ingest/index.ts";

export type TestStore = {
  readonly append: Append;
  readonly stored: EntryInput[];
  readonly levels: DurabilityLevel[];
  /** Bodies decoded. */
  bodies(): unknown[];
  /** What comes next; undefined appends at once. */
  behaviour: ((batch: readonly EntryInput[]) => Promise<AppendOutcome | undefined>) | undefined;
};

export function createTestStore(): TestStore {
  const seen = new Set<string>();
  const store: TestStore = {
    stored: [],
    levels: [],
    behaviour: undefined,
    bodies: () => store.stored.map(({ body }) => JSON.parse(new TextDecoder().decode(body))),
    async append(batch, { level }) {
      const outcome = await store.behaviour?.(batch);
      if (outcome?.state === "refused") return outcome;
      let duplicates = 0;
      for (const entry of batch) {
        const id = entry.key && JSON.stringify([entry.stream, ...Object.values(entry.key)]);
        if (id && seen.has(id)) {
          duplicates++;
          continue;
        }
        if (id) seen.add(id);
        store.stored.push(entry);
        store.levels.push(level);
      }
      return (
        outcome ?? {
          state: "reached",
          reached: level,
          stored: batch.length - duplicates,
          duplicates,
        }
      );
    },
  };
  return store;
}

export const refused = (code: string, retryable = true): AppendOutcome => ({
  state: "refused",
  code,
  message: `the test store refuses with ${code}`,
  retryable,
});

/** MQTT 3.1.1 packets by hand, for what a proper client would never send. */
const text = (value: string) => {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
};

/** `rest` of at most 127 bytes. */
const packet = (type: number, ...rest: Buffer[]) => {
  const body = Buffer.concat(rest);
  return Buffer.concat([Buffer.from([type, body.length]), body]);
};

/** Clean session, no keepalive. */
export const connectPacket = (clientId: string) =>
  packet(0x10, text("MQTT"), Buffer.from([4, 2, 0, 0]), text(clientId));

/** QoS 1, packet identifier 1. */
export const publishPacket = (topic: string, payload: string) =>
  packet(0x32, text(topic), Buffer.from([0, 1]), Buffer.from(payload));

/** QoS 0, packet identifier 1. */
export const subscribePacket = (filter: string) =>
  packet(0x82, Buffer.from([0, 1]), text(filter), Buffer.from([0]));
