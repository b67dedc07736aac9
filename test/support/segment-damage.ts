/** Two nodes whose segments are spoiled in seeded ways, and readers of what is left. */
import { strict as assert } from "node:assert";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { EgressPolicy, EntryInput } from "../../src/api/index.ts";
import {
  createSegmentRepair,
  openStreamStore,
  wholeReads,
  type LocalStreamStore,
  type StreamStore,
} from "../../src/data/index.ts";
import {
  noFaults,
  peerOf,
  virtualLink,
  virtualRouter,
} from "../../src/drill/simulated/convergence/links.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom, type Random } from "../../src/lib/random.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { entry, range, temporaryFolder } from "./data.ts";

const trustDomain = "cell-a.skerry";
const log = silentLog;

/** Two nodes with the same entries in different orders, sealed; both names are paths. */
export async function openCell(seed: number, egress?: EgressPolicy) {
  const folder = temporaryFolder();
  const random = seededRandom(seed);
  const clock = createSimulatedClock();
  const fork = () => seededRandom(random.integer(2 ** 32));
  const streams = [{ name: "readings", retention: {}, ...(egress ? { egress } : {}) }];
  const pathOf = (node: string) => join(folder.path, `${node}.db`);
  const stores = new Map<string, LocalStreamStore>();
  const open = async (node: string) => {
    const store = openStreamStore(
      { clock, random: fork(), log },
      {
        path: pathOf(node),
        node,
        sealing: { entriesMax: 10, tailEntries: 5, periodMs: 10 },
        scrub: { periodMs: 1e9 },
      },
    );
    await store.setStreams(streams);
    stores.set(node, store);
    return store;
  };
  const [n1, n2] = [await open("n1"), await open("n2")];
  const hex = (bytes: number) =>
    Buffer.from(range(1, bytes).map(() => random.integer(256))).toString("hex");
  for (let n = 0; n < 60; n += 3) {
    const unkeyed: EntryInput = { stream: "readings", body: Buffer.from(`{"u":"${hex(1200)}"}`) };
    const some = (producer: string) => [
      ...range(n + 1, n + 3).map((sequence) =>
        entry(sequence, { stream: "readings", producer, atMs: n, body: { n, pad: hex(1200) } }),
      ),
      { ...unkeyed, atMs: n },
    ];
    await n1.append(some("p1"));
    await n2.append(some("p2"));
    await exchange(n1, n2);
    await exchange(n2, n1);
    for (let turn = 0; turn < 20; turn++) await clock.advance(10);
  }
  const reopen = async (node: string, spoil?: (path: string) => void) => {
    await stores.get(node)?.close();
    spoil?.(pathOf(node));
    return await open(node);
  };
  const close = async () => {
    for (const store of stores.values()) await store.close();
    folder[Symbol.dispose]();
  };
  return { clock, random: fork(), folder: folder.path, stores, reopen, close };
}
export type Cell = Awaited<ReturnType<typeof openCell>>;

async function exchange(from: LocalStreamStore, to: LocalStreamStore): Promise<void> {
  const have = await to.vector();
  const { origin } = await from.status();
  const batch = await from.log({ origin, from: (have[origin] ?? 0) + 1 });
  if (batch) await to.apply(batch.bytes);
}

/** Spoils the content of one segment in the file; which, and where in it, comes from the seed. */
export const ways: Record<string, (path: string, random: Random) => void> = {
  "a flipped bit": (path, random) =>
    rewrite(path, random, (bytes) => {
      const at = random.integer(bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random.integer(8));
      return bytes;
    }),
  "a cut end": (path, random) =>
    rewrite(path, random, (bytes) => bytes.subarray(0, random.integer(bytes.length))),
  "a page of zeros": (path, random) => {
    const { bytes } = pickSegment(path, random);
    // The middle of it lies on pages of its own, whose first bytes name the next page.
    const from = 4096 + random.integer(bytes.length - 8192);
    const file = readFileSync(path);
    const at = file.indexOf(bytes.subarray(from, from + 16));
    assert.ok(at > 0 && bytes.length > 8192, "the content lies on several pages");
    file.fill(0, at - (at % 4096), at - (at % 4096) + 4096);
    writeFileSync(path, file);
  },
};

function pickSegment(path: string, random: Random): { id: number; bytes: Buffer } {
  const db = openDatabase(path);
  const rows = db.prepare("SELECT id, bytes FROM segment_bytes ORDER BY id").all();
  const row = rows[random.integer(rows.length)];
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  db.close();
  return { id: Number(row?.["id"]), bytes: Buffer.from(row?.["bytes"] as Uint8Array) };
}

function rewrite(path: string, random: Random, change: (bytes: Buffer) => Buffer): void {
  const { id, bytes } = pickSegment(path, random);
  const db = openDatabase(path);
  db.prepare("UPDATE segment_bytes SET bytes = ? WHERE id = ?").run(change(bytes), id);
  db.close();
}

/** Virtual time goes on until this has its answer. */
async function settle<T>(clock: SimulatedClock, answer: Promise<T>): Promise<T> {
  const over = new AbortController();
  const end = () => over.abort();
  answer.then(end, end);
  while (!over.signal.aborted) await clock.advance(20);
  return await answer;
}

/** All that a reader gets, walking on behind what is damaged, and what it was told of that. */
export async function walk(store: Pick<StreamStore, "read">, clock: Cell["clock"]) {
  const seen: { cursor: string; at: string; body: string }[] = [];
  const damage: string[] = [];
  for (let after: string | undefined, more = true; more;) {
    try {
      const page = await settle(clock, store.read({ stream: "readings", after, limit: 7 }));
      for (const { cursor, position, body } of page.entries)
        seen.push({
          cursor,
          at: `${position.origin}/${position.sequence}`,
          body: Buffer.from(body).toString(),
        });
      ({ more } = page);
      after = page.cursor;
    } catch (error) {
      assert.ok(error instanceof SkerryError && error.code === "segment-damaged", String(error));
      damage.push(error.message);
      after = /after=(\S+)/.exec(error.hint ?? "")?.[1];
    }
  }
  return { seen, damage };
}

/** What reads of n1 go through, with links to these. */
export function repairing(
  { clock, random, stores }: Cell,
  links: { peer?: boolean; hub?: ReturnType<typeof virtualRouter> },
) {
  const store = stores.get("n1") as LocalStreamStore;
  const metrics = createMetrics();
  const repairOf = (of: LocalStreamStore) =>
    createSegmentRepair(
      { repairs: of.repairs, clock, log, metrics: createMetrics() },
      { node: of.node, trustDomain },
    );
  const repair = createSegmentRepair(
    { repairs: store.repairs, clock, log, metrics },
    { node: "n1", trustDomain },
  );
  const router = virtualRouter();
  repair.register(router);
  const end = (name: string, of = router) => ({
    peer: peerOf(trustDomain, "node", name),
    router: of,
  });
  const connect = (name: string, of: ReturnType<typeof virtualRouter>) =>
    virtualLink(
      { clock, random, faults: () => noFaults },
      { left: end("n1"), right: end(name, of) },
    );
  const parts = [repair];
  const peer = stores.get("n2");
  if (links.peer && peer) {
    const other = repairOf(peer);
    const otherRouter = virtualRouter();
    other.register(otherRouter);
    repair.attachPeer(connect("n2", otherRouter).left);
    parts.push(other);
  }
  if (links.hub) repair.attachHub(connect("hub", links.hub).left);
  const stop = () => {
    for (const part of parts) part.stop();
  };
  return { store: wholeReads(store, repair), repair, metrics, stop };
}
