/** Skerry's documents as in an agent: a storage thread, replication over a link with mutual TLS. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { StorageData, StorageThread } from "../../../src/agent/storage.ts";
import {
  connectDocumentStore,
  createReplication,
  type DocumentStore,
  type DocumentWrite,
  type Replication,
} from "../../../src/data/index.ts";
import { silentLog } from "../../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../../src/runtime/clock/index.ts";
import { startThread } from "../../../src/runtime/thread/index.ts";
import { createRouter, dial, listen, type DialledLink } from "../../../src/transport/index.ts";
import { bodyOf, idOf } from "./body.ts";
import { concurrent, host, perRequest, type Identity } from "./protocol.ts";
import { serve } from "../commands.ts";
import { inBatches } from "./in-batches.ts";

const deps = { clock: systemClock, random: systemRandom, log: silentLog };
const linkDeps = { ...deps, nowMs: () => systemClock.wallMs() };
const collection = "parts";
const router = createRouter();
let storage: StorageThread;
let store: DocumentStore;
let replication: Replication;
let identity: Identity;
let link: DialledLink | undefined;

const put = (at: number, version: number): DocumentWrite => ({
  collection,
  id: idOf(at),
  do: "put",
  body: bodyOf(at, version),
});
const write = async (writes: readonly DocumentWrite[]) => {
  const answer = await store.write(writes);
  if (answer.state !== "stored") throw new Error(JSON.stringify(answer));
};

serve({
  async open({ folder, name, identity: own, listens }) {
    identity = own;
    const dataDir = join(folder, name);
    mkdirSync(dataDir, { recursive: true });
    const logPath = join(dataDir, "agent.log");
    const data = { dataDir, node: name, holdsLedger: false, logLevel: "warn", logPath } as const;
    storage = await startThread(new URL("../../../src/agent/storage.entry.ts", import.meta.url), {
      name: "storage",
      data: data satisfies StorageData,
    });
    store = connectDocumentStore(storage, { node: name });
    await store.declare([{ name: collection, schemaVersion: 1, onMismatch: "refuse", fields: [] }]);
    const { trust, credentials } = identity;
    replication = createReplication(
      { store, ...deps },
      { node: name, trustDomain: trust.trustDomain, methods: "documents" },
    );
    replication.register(router);
    if (!listens) return 0;
    const listener = await listen(linkDeps, {
      host,
      port: 0,
      credentials: () => credentials,
      trusts: () => [trust],
      router,
    });
    listener.on("up", (incoming) => replication.attach(incoming));
    return listener.port;
  },
  async writeMany({ from, to, version }) {
    await link?.close();
    await inBatches({ from, to, size: perRequest, loops: concurrent }, (first, end) =>
      write(Array.from({ length: end - first }, (_, index) => put(first + index, version))),
    );
  },
  writeOne: ({ at, version }) => write([put(at, version)]),
  async read({ at }) {
    if (!(await store.read({ collection, id: idOf(at) })))
      throw new Error(`${idOf(at)} is missing`);
  },
  async replicate({ port }) {
    const wanted = Object.entries(await store.vector()).filter(([, top]) => top > 0);
    const { credentials, trust } = identity;
    const arrived = Promise.withResolvers<void>();
    const look = () => {
      for (const vector of replication.vectorsByNode().values())
        if (wanted.every(([origin, top]) => (vector[origin] ?? 0) >= top)) arrived.resolve();
    };
    const forget = replication.on("vectors", look);
    link = dial(linkDeps, {
      address: { host, port },
      expect: trust.trustDomain,
      credentials: () => credentials,
      trusts: () => [trust],
      router,
    });
    link.on("up", (outgoing) => replication.attach(outgoing));
    await arrived.promise;
    forget();
  },
  async count() {
    return (await store.status()).collections.reduce((sum, { documents }) => sum + documents, 0);
  },
  async close() {
    await link?.close();
    replication.stop();
    await store.close();
    await storage.terminate();
  },
});
