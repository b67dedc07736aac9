/**
 * A backlog into one hub on SQLite: three nodes of a cell, each on its own link, send what they kept,
 * packed beforehand, so that the receiver is measured: its links, the second look at what may leave,
 * each entry once, sealed, committed and fsynced before it is acknowledged. Beside it, in the same run,
 * the disk alone (what is sent, written and fsynced a window at a time) and SQLite alone (a row an
 * entry, a batch a transaction, synchronous=FULL, without keys, logs or compression).
 */
import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { startHub, stopHub } from "../src/hub/index.ts";
import { systemClock as clock } from "../src/runtime/clock/index.ts";
import { startNodes, type NodesProcess } from "./support/backlog/process.ts";
import type { Packed, Shape } from "./support/backlog/protocol.ts";
import { inFolder, interleave, type BenchOptions, type BenchResult } from "./support/bench.ts";
import { enrolCells } from "./support/enrol.ts";

export const about = "a backlog of packed entries into one hub on SQLite, against the bare disk";

const host = "127.0.68.1";
const hubName = "bench";
const nodes = 3;
const entriesPerBatch = 1000;
const defaultEntries = 1_500_000;
/** As the hub sync of a node has them to a hub that is near. */
const windowBatches = 8;
const rowsMeasured = 100_000;

type Measured = { readonly entriesPerSecond: number };

async function measureHub(process: NodesProcess, entries: number): Promise<Measured> {
  return await inFolder(async (folder) => {
    const dataDir = join(folder, "hub");
    const { authority, cells } = await enrolCells(
      { dataDir, name: hubName },
      { folder, cells: 1, nodesPerCell: nodes },
    );
    const [cell] = cells;
    const hub = await startHub({ dataDir, name: hubName, host, port: 0 }, { clock });
    try {
      const port = Number(hub.address.slice(hub.address.lastIndexOf(":") + 1));
      const { tookMs, arrived } = await process.send({
        credentials: cell?.credentials ?? [],
        hub: { host, port },
        trust: authority.trust,
        windowBatches,
      });
      if (arrived !== entries) throw new Error(`${arrived} of ${entries} entries arrived`);
      return { entriesPerSecond: (entries / tookMs) * 1000 };
    } finally {
      await stopHub(dataDir, { clock });
    }
  });
}

/** The same bytes in one file, fsynced as often as a window of all nodes is full. */
async function measureDisk({ packedBytes }: Packed, entries: number): Promise<Measured> {
  return await inFolder((folder) => {
    const batches = entries / entriesPerBatch;
    const batch = Buffer.alloc(Math.round(packedBytes / batches), 1);
    const file = openSync(join(folder, "bytes"), "w");
    const startedMs = performance.now();
    for (let at = 1; at <= batches; at++) {
      writeSync(file, batch);
      if (at % (nodes * windowBatches) === 0 || at === batches) fdatasyncSync(file);
    }
    const tookMs = performance.now() - startedMs;
    closeSync(file);
    return { entriesPerSecond: (entries / tookMs) * 1000 };
  });
}

async function measureRows({ bodyBytes }: Packed): Promise<Measured> {
  return await inFolder((folder) => {
    const db = new DatabaseSync(join(folder, "rows.db"));
    db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    db.exec("CREATE TABLE entry(id INTEGER PRIMARY KEY, stream INTEGER, at_ms INTEGER, body BLOB)");
    const insert = db.prepare("INSERT INTO entry VALUES (?, ?, ?, ?)");
    const body = Buffer.alloc(Math.round(bodyBytes), 1);
    const startedMs = performance.now();
    for (let first = 1; first <= rowsMeasured; first += entriesPerBatch) {
      db.exec("BEGIN IMMEDIATE");
      for (let id = first; id < first + entriesPerBatch; id++)
        insert.run(id, 1, 1_700_000_000_000 + id, body);
      db.exec("COMMIT");
    }
    const tookMs = performance.now() - startedMs;
    db.close();
    return { entriesPerSecond: (rowsMeasured / tookMs) * 1000 };
  });
}

async function measureShape(shape: Shape, options: BenchOptions, wanted: number) {
  const batchesPerNode = Math.ceil(wanted / nodes / entriesPerBatch);
  const entries = batchesPerNode * entriesPerBatch * nodes;
  await using process = startNodes();
  options.progress(`${shape}: packing ${entries} entries`);
  const packed = await process.pack({ shape, nodes, batchesPerNode, entriesPerBatch });
  const measured = await interleave(options, {
    disk: () => measureDisk(packed, entries),
    rows: () => measureRows(packed),
    hub: () => measureHub(process, entries),
  });
  return { packed, entries, ...measured };
}

export async function run(options: BenchOptions): Promise<BenchResult> {
  const wanted = options.entries ?? defaultEntries;
  const short = await measureShape("short", options, wanted);
  const readings = await measureShape("readings", options, wanted);
  const row = (
    what: string,
    { entriesPerSecond }: Measured,
    { packed, entries }: typeof short,
  ) => ({
    what,
    "entries/s": Math.round(entriesPerSecond),
    "B/body": Math.round(packed.bodyBytes),
    "B/entry sent": Math.round(packed.packedBytes / entries),
  });
  const rowsOf = (name: string, of: typeof short) => [
    row(`${name}: bare disk (ceiling)`, of.disk, of),
    row(`${name}: bare SQLite, a row an entry`, of.rows, of),
    row(`${name}: hub`, of.hub, of),
  ];
  return {
    ratios: {
      "disk.throughput": short.hub.entriesPerSecond / short.disk.entriesPerSecond,
      "rows.throughput": short.hub.entriesPerSecond / short.rows.entriesPerSecond,
      "rows.throughputOfReadings": readings.hub.entriesPerSecond / readings.rows.entriesPerSecond,
    },
    figures: {
      entries: short.entries,
      shortEntriesPerSecond: short.hub.entriesPerSecond,
      readingsEntriesPerSecond: readings.hub.entriesPerSecond,
      diskEntriesPerSecond: short.disk.entriesPerSecond,
    },
    table: [...rowsOf("as in long-offline", short), ...rowsOf("readings with keys", readings)],
  };
}
