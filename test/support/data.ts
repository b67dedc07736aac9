/** What the tests of `data/` share: stores in temporary folders, entries, and reading a store whole. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EntryInput, StoredEntry } from "../../src/api/index.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { toLogBatch } from "../../src/data/batch/codec.ts";
import type {
  ColumnBatch,
  LogBatch,
  ReadQuery,
  StreamDeclaration,
  StreamStore,
} from "../../src/data/index.ts";

export function temporaryFolder(): { path: string; [Symbol.dispose](): void } {
  const path = mkdtempSync(join(tmpdir(), "skerry-data-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

export function entry(
  sequence: number,
  options: {
    stream?: string;
    producer?: string;
    epoch?: number;
    atMs?: number;
    body?: unknown;
  } = {},
): EntryInput {
  const { stream = "telemetry", producer = "p1", epoch = 1, atMs, body } = options;
  return {
    stream,
    ...(atMs === undefined ? {} : { atMs }),
    key: { producer, epoch, sequence },
    body: Buffer.from(JSON.stringify(body ?? { n: sequence })),
  };
}

/** Entries that no sealing makes much smaller. */
export function padded(stream: string, sequences: readonly number[]): EntryInput[] {
  const random = seededRandom(sequences[0] ?? 0);
  return sequences.map((sequence) => {
    const pad = Buffer.from(range(1, 400).map(() => random.integer(256))).toString("hex");
    return entry(sequence, { stream, body: { pad } });
  });
}

export const range = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

/** Keys of a stream in the order of the store's view: `producer/epoch/sequence`. */
export async function keysOf(
  store: Pick<StreamStore, "read">,
  query: Partial<ReadQuery> = {},
): Promise<string[]> {
  return (await readAll(store, query)).map(keyText);
}

export async function readAll(
  store: Pick<StreamStore, "read">,
  query: Partial<ReadQuery> = {},
): Promise<StoredEntry[]> {
  const all: StoredEntry[] = [];
  let after = query.after;
  for (;;) {
    const page = await store.read({ stream: "telemetry", ...query, after });
    all.push(...page.entries);
    after = page.cursor;
    if (!page.more) return all;
  }
}

export const keyText = ({ key }: EntryInput) =>
  key ? `${key.producer}/${key.epoch}/${key.sequence}` : "-";

export const telemetry: StreamDeclaration = {
  name: "telemetry",
  retention: {},
  egress: { keep: ["n"] },
};
export const diary: StreamDeclaration = { name: "diary", retention: {} };

/** A gate that lets whole streams out: for tests of replication, not of privacy. */
export function testGate(encode: (batch: LogBatch) => Uint8Array) {
  const wholeOf = (batch: LogBatch | ColumnBatch) =>
    "columns" in batch ? toLogBatch(batch) : batch;
  let streams = new Set<string>();
  return {
    setPolicies(policies: Readonly<Record<string, unknown>>) {
      streams = new Set(Object.keys(policies));
    },
    clear(given: LogBatch | ColumnBatch) {
      const batch = wholeOf(given);
      const entries = batch.entries.filter(({ stream }) => streams.has(stream));
      return {
        origin: batch.origin,
        from: batch.from,
        to: batch.to,
        entries: entries.length,
        bytes: encode({ ...batch, entries }),
      };
    },
  };
}
