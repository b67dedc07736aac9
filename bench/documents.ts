/**
 * Documents: 20,000 of ten fields (330 characters, 40% of which do not compress), written, read, and
 * replicated to a second process over mutual TLS: into an empty receiver, then after each has changed in
 * one field into one that has the others. Beside Skerry PouchDB with express-pouchdb, in the same turns,
 * through the same relay that counts bytes. Skerry acknowledges after fsync; PouchDB never waits for one.
 */
import { join } from "node:path";
import { readFileSync } from "node:fs";
import { createAuthority, spiffeId } from "../src/identity/index.ts";
import { seededRandom } from "../src/lib/random.ts";
import { systemClock, systemRandom } from "../src/runtime/clock/index.ts";
import {
  inFolder,
  interleave,
  latencyMs,
  throughput,
  type BenchOptions,
  type BenchResult,
} from "./support/bench.ts";
import { installPeers } from "./support/documents/packages.ts";
import { startStore, type StoreProcess } from "./support/documents/process.ts";
import type { Identity } from "./support/documents/protocol.ts";
import { startRelay } from "./support/documents/relay.ts";
import { createPeerIdentity } from "./support/peers.ts";

export const about = "documents written, read and replicated, against PouchDB";

const documents = 20_000;
const singles = 200;
const reads = 5_000;
const readers = 16;

type Measure = {
  writesPerSecond: number;
  writeP50Ms: number;
  readsPerSecond: number;
  emptyPerSecond: number;
  emptyBytes: number;
  warmPerSecond: number;
  warmBytes: number;
};

export async function run(options: BenchOptions): Promise<BenchResult> {
  const packages = installPeers(
    { pouchdb: "9.0.0", "express-pouchdb": "4.2.0", express: "4.21.2" },
    options.progress,
  );
  return await inFolder(async (folder) => {
    const identityOf = await identities(folder);
    const measured = await interleave(options, {
      skerry: () => turn("skerry.entry.ts", identityOf),
      pouchdb: () => turn("pouch.entry.ts", identityOf, packages),
    });
    const { skerry, pouchdb } = measured;
    const row = (what: string, acknowledges: string, one: Measure) => ({
      what,
      acknowledges,
      "writes/s (100 a request)": Math.round(one.writesPerSecond),
      "write p50 ms": Number(one.writeP50Ms.toFixed(2)),
      "reads/s": Math.round(one.readsPerSecond),
      "replicated/s, empty": Math.round(one.emptyPerSecond),
      "bytes each": Math.round(one.emptyBytes),
      "replicated/s, one field changed": Math.round(one.warmPerSecond),
      "bytes each ": Math.round(one.warmBytes),
    });
    return {
      ratios: {
        "pouchdb.writes": skerry.writesPerSecond / pouchdb.writesPerSecond,
        "pouchdb.writeP50": pouchdb.writeP50Ms / skerry.writeP50Ms,
        "pouchdb.reads": skerry.readsPerSecond / pouchdb.readsPerSecond,
        "pouchdb.replication": skerry.emptyPerSecond / pouchdb.emptyPerSecond,
        "pouchdb.bytes": pouchdb.emptyBytes / skerry.emptyBytes,
        "pouchdb.warmReplication": skerry.warmPerSecond / pouchdb.warmPerSecond,
        "pouchdb.warmBytes": pouchdb.warmBytes / skerry.warmBytes,
      },
      figures: {
        documentWritesPerSecond: skerry.writesPerSecond,
        documentWriteP50Ms: skerry.writeP50Ms,
        documentReadsPerSecond: skerry.readsPerSecond,
        documentsReplicatedPerSecond: skerry.emptyPerSecond,
        wireBytes: skerry.emptyBytes,
        changedReplicatedPerSecond: skerry.warmPerSecond,
        changedWireBytes: skerry.warmBytes,
      },
      table: [
        row("Skerry", "after fsync", skerry),
        row("PouchDB 9, LevelDB, express-pouchdb", "before fsync", pouchdb),
      ],
    };
  });
}

type IdentityOf = (name: string) => Promise<Identity>;

/** One authority for both; nodes' certificates for links, a server's and a client's for HTTPS. */
async function identities(folder: string): Promise<IdentityOf> {
  const authority = await createAuthority(
    { random: systemRandom, nowMs: () => systemClock.wallMs() },
    { folder: join(folder, "authority"), trustDomain: "bench.skerry" },
  );
  const peers = await createPeerIdentity(join(folder, "peers"));
  const { host: _host, port: _port, ...endpoint } = peers.endpoint("", 0);
  const file = (path: string) => readFileSync(path, "utf8");
  const server = {
    key: file(peers.files.key),
    cert: file(peers.files.chain),
    ca: file(peers.files.anchors),
  };
  return async (name) => ({
    credentials: await authority.issueCredentials(spiffeId("bench.skerry", "node", name)),
    trust: authority.trust,
    server,
    endpoint,
  });
}

async function turn(file: string, identityOf: IdentityOf, packages?: string): Promise<Measure> {
  return await inFolder(async (folder) => {
    await using holder = startStore(file);
    await using receiver = startStore(file);
    const open = async (store: StoreProcess, name: string, listens: boolean) =>
      store.open({
        folder,
        name,
        identity: await identityOf(name),
        listens,
        ...(packages === undefined ? {} : { packages }),
      });
    const port = await open(receiver, "receiver", true);
    await open(holder, "holder", false);
    await using relay = await startRelay(port);

    const fillMs = await timeMs(() => holder.writeMany({ from: 0, to: documents, version: 0 }));
    const random = seededRandom(documents);
    const readsPerSecond = await throughput({ count: reads, callers: readers }, () =>
      holder.read({ at: random.integer(documents) }),
    );
    const emptyMs = await timeMs(() => holder.replicate({ port: relay.port }));
    const emptyBytes = relay.bytes;
    await expectAll(receiver);

    await holder.writeMany({ from: 0, to: documents, version: 1 });
    const before = relay.bytes;
    const warmMs = await timeMs(() => holder.replicate({ port: relay.port }));
    const warmBytes = relay.bytes - before;
    const writeP50Ms = await latencyMs(singles, (at) => holder.writeOne({ at, version: 2 }));
    await expectAll(receiver);
    return {
      writesPerSecond: (documents / fillMs) * 1000,
      writeP50Ms,
      readsPerSecond,
      emptyPerSecond: (documents / emptyMs) * 1000,
      emptyBytes: emptyBytes / documents,
      warmPerSecond: (documents / warmMs) * 1000,
      warmBytes: warmBytes / documents,
    };
  });
}

async function timeMs(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

async function expectAll(store: StoreProcess): Promise<void> {
  const count = await store.count();
  if (count !== documents) throw new Error(`${count} of ${documents} documents arrived`);
}
