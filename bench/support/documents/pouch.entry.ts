/**
 * PouchDB as people use it: LevelDB on disk, a receiver behind express-pouchdb with mutual TLS, and its
 * own replicator. It acknowledges what the kernel has, not what the disk has: no fsync a write.
 */
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { Agent, createServer } from "node:https";
import type { RequestListener } from "node:http";
import { join } from "node:path";
import { bodyOf, idOf } from "./body.ts";
import { concurrent, host, perRequest, type Identity } from "./protocol.ts";
import { serve } from "../commands.ts";
import { inBatches } from "./in-batches.ts";

type Saved = { readonly id: string; readonly rev: string };
type Database = {
  bulkDocs(
    documents: readonly object[],
  ): Promise<readonly (Saved & { readonly error?: unknown })[]>;
  put(document: object): Promise<Saved>;
  get(id: string): Promise<object>;
  info(): Promise<{ readonly doc_count: number }>;
  close(): Promise<void>;
  replicate: {
    to(target: Database, options: object): Promise<{ readonly ok: boolean }>;
  };
};
type Pouch = {
  new (name: string, options?: object): Database;
  defaults(options: object): Pouch;
  fetch(url: string, options: object): Promise<unknown>;
};

const database = "parts";
/** A tenth of the time that its default of 100 takes. */
const replicationBatch = 1000;
let pouch: Pouch;
let identity: Identity;
let own: Database;
const revisions = new Map<string, string>();

serve({
  async open({ folder, name, identity: given, listens, packages = "" }) {
    identity = given;
    const path = join(folder, name);
    mkdirSync(path, { recursive: true });
    const require = createRequire(join(packages, "package.json"));
    pouch = (require("pouchdb") as Pouch).defaults({ prefix: `${path}/` });
    own = new pouch(database, { auto_compaction: true });
    await own.info();
    if (!listens) return 0;
    const express = require("express") as () => RequestListener & {
      use(path: string, handler: unknown): void;
    };
    const overHttp = require("express-pouchdb") as (pouch: Pouch, options: object) => unknown;
    const app = express();
    const options = {
      mode: "minimumForPouchDB",
      inMemoryConfig: true,
      logPath: join(path, "log.txt"),
    };
    app.use("/", overHttp(pouch, options));
    const server = createServer(
      { ...identity.server, requestCert: true, rejectUnauthorized: true },
      app,
    );
    server.listen(0, host);
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  },
  writeMany: ({ from, to, version }) =>
    inBatches({ from, to, size: perRequest, loops: concurrent }, async (first, end) => {
      const documents = Array.from({ length: end - first }, (_, index) =>
        documentOf(first + index, version),
      );
      for (const saved of await own.bulkDocs(documents)) {
        if (saved.error) throw new Error(JSON.stringify(saved));
        revisions.set(saved.id, saved.rev);
      }
    }),
  async writeOne({ at, version }) {
    const { id, rev } = await own.put(documentOf(at, version));
    revisions.set(id, rev);
  },
  async read({ at }) {
    await own.get(idOf(at));
  },
  async replicate({ port }) {
    const { keyPem, chainPem, anchorsPem, serverName } = identity.endpoint;
    const agent = new Agent({
      keepAlive: true,
      key: keyPem,
      cert: chainPem,
      ca: [...anchorsPem],
      servername: serverName,
    });
    const remote = new pouch(`https://${host}:${port}/${database}`, {
      fetch: (url: string, options: object) => pouch.fetch(url, { ...options, agent }),
    });
    const { ok } = await own.replicate.to(remote, {
      batch_size: replicationBatch,
      batches_limit: 10,
    });
    agent.destroy();
    if (!ok) throw new Error("PouchDB did not replicate");
  },
  count: async () => (await own.info()).doc_count,
  close: () => own.close(),
});

function documentOf(at: number, version: number): object {
  const id = idOf(at);
  const revision = revisions.get(id);
  return { _id: id, ...(revision ? { _rev: revision } : {}), ...bodyOf(at, version) };
}
