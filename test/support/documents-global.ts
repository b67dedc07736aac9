/** Every GlobalDocumentStore that the contract suites are run against, and what nodes send to it. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { after } from "node:test";
import { stable, type EgressPolicy } from "../../src/api/index.ts";
import {
  connectGlobalDocuments,
  encodeLeaving,
  encodeLeavingSnapshot,
  openGlobalDocuments,
  openPostgresDocuments,
  serveGlobalDocuments,
  type FeedStates,
  type GlobalDocumentMethods,
  type GlobalDocumentStore,
  type LocalDocumentStore,
} from "../../src/data/index.ts";
import type { GlobalQueryFiles } from "../../src/data/global/queries.ts";
import { decodeError, encodeError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createOperationGate, createOperationRecheck } from "../../src/privacy/gate/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { parsePostgresUrl } from "../../src/runtime/postgres/index.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { temporaryFolder } from "./data.ts";
import { openDocuments } from "./documents.ts";
import { startPostgres, type TestPostgres } from "./postgres.ts";

type Options = { graceMs?: number };

type Kind = {
  open(path: string, options?: Options): Promise<GlobalDocumentStore>;
  /** What a statement that counts answers of the tables below it. */
  countOf(path: string, sql: string): Promise<number>;
  /** For queries beside the store. */
  files(path: string): Promise<GlobalQueryFiles["global"]>;
};

const deps = () => ({
  clock: systemClock,
  random: systemRandom,
  log: silentLog,
  recheck: createOperationRecheck(),
});
const openHere = (path: string, options: Options = {}): GlobalDocumentStore =>
  openGlobalDocuments(deps(), { path, sweepPeriodMs: 20, ...options });

/** One for a test file, with a database for each path. */
let server: Promise<TestPostgres> | undefined;
after(async () => (await server)?.[Symbol.asyncDispose]());
const urlByPath = new Map<string, Promise<string>>();
export const postgresServer = (): Promise<TestPostgres> =>
  (server ??= startPostgres({ host: "127.0.68.1" }));
export async function postgresUrl(path: string): Promise<string> {
  const { freshUrl } = await postgresServer();
  const url = urlByPath.get(path) ?? freshUrl();
  urlByPath.set(path, url);
  return await url;
}

export const openOnPostgres = async (
  path: string,
  options: Options = {},
): Promise<GlobalDocumentStore> =>
  await openPostgresDocuments(deps(), {
    address: parsePostgresUrl(await postgresUrl(path)),
    sweepPeriodMs: 20,
    ...options,
  });

const onPostgres: Kind = {
  open: openOnPostgres,
  files: async (path) => ({ address: parsePostgresUrl(await postgresUrl(path)) }),
  async countOf(path, sql) {
    await using control = await (await postgresServer()).open(await postgresUrl(path));
    return await control.use(async (session) => {
      await session.query("SET search_path = skerry_documents");
      const [row] = await session.query(sql);
      return Number(row?.["n"]);
    });
  },
};
const onSqlite = (open: (path: string, options?: Options) => GlobalDocumentStore): Kind => ({
  open: async (path, options) => open(path, options),
  files: async (path) => ({ documentsPath: path, streamsPath: "" }),
  async countOf(path, sql) {
    const db = openDatabase(path);
    try {
      return Number(db.prepare(sql).get()?.["n"]);
    } finally {
      db.close();
    }
  },
});

/** As a thread carries it: everything is cloned, errors go through the codec. */
function acrossThread(path: string, options?: Options): GlobalDocumentStore {
  const listeners = new Set<() => void>();
  const methods = serveGlobalDocuments(openHere(path, options), () => {
    for (const listener of listeners) listener();
  });
  const on = (_name: string, listener: () => void) => {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  };
  const call = async (name: keyof GlobalDocumentMethods, argument: never) => {
    try {
      return structuredClone(await methods[name](structuredClone(argument)));
    } catch (error) {
      throw decodeError(structuredClone(encodeError(error)));
    }
  };
  return connectGlobalDocuments({ call, on } as unknown as Parameters<
    typeof connectGlobalDocuments
  >[0]);
}

export type Policy = EgressPolicy & { readonly revision?: number };

const operationGate = () =>
  createOperationGate({
    encode: encodeLeaving,
    encodeSnapshot: encodeLeavingSnapshot,
    log: silentLog,
  });

/** What a node sends of its log of one origin. */
export function clear(
  node: LocalDocumentStore,
  policies: Readonly<Record<string, Policy>>,
  query: { origin: string; from?: number; to?: number },
): Uint8Array {
  const gate = operationGate();
  gate.setPolicies(
    Object.fromEntries(
      Object.entries(policies).map(([name, { revision = 1, ...policy }]) => [
        name,
        { policy, revision },
      ]),
    ),
  );
  const piece = node.readLeaving({ from: 1, ...query });
  assert.ok(piece);
  const cleared = gate.clear(piece, Object.keys(policies));
  assert.ok(cleared);
  return cleared.bytes;
}

/** A piece of what a node sends of its documents. */
export function clearSnapshot(
  node: LocalDocumentStore,
  { revision = 1, ...policy }: Policy,
  query: Omit<Parameters<LocalDocumentStore["readLeavingSnapshot"]>[0], "collection">,
): Uint8Array {
  const gate = operationGate();
  gate.setPolicies({ items: { policy, revision } });
  const piece = node.readLeavingSnapshot({ collection: "items", ...query });
  const cleared = piece && gate.clearSnapshot(piece, "items");
  assert.ok(cleared);
  return cleared;
}

export async function sendAll(
  node: LocalDocumentStore,
  hub: GlobalDocumentStore,
  policies: Readonly<Record<string, Policy>>,
  cell = "a",
): Promise<FeedStates> {
  let states: FeedStates = {};
  for (const origin of Object.keys(await node.vector()))
    states = await hub.ingest(cell, clear(node, policies, { origin }));
  return states;
}

export const bodies = async (hub: GlobalDocumentStore, query: { cell?: string } = {}) => {
  const { documents } = await hub.list({ collection: "items", ...query });
  return documents.map(({ cell, id, body }) => `${cell}/${id} ${stable(body)}`);
};
export const originOf = async (node: LocalDocumentStore) => (await node.status()).origin;

/** `withParts`: a test on a hub and two nodes. */
export const globalDocuments = (
  [
    ["sqlite", onSqlite(openHere)],
    ["across a thread", onSqlite(acrossThread)],
    ["postgresql", onPostgres],
  ] as const
).map(([name, { open, countOf, files }]) => ({
  name,
  withParts:
    (
      run: (parts: {
        hub: GlobalDocumentStore;
        nodes: readonly [LocalDocumentStore, LocalDocumentStore];
        countOf(sql: string): Promise<number>;
        files(): Promise<GlobalQueryFiles["global"]>;
        reopen(options?: Options): Promise<GlobalDocumentStore>;
      }) => Promise<void>,
      options?: Options,
    ) =>
    async (): Promise<void> => {
      using folder = temporaryFolder();
      const path = join(folder.path, "hub.db");
      let hub = await open(path, options);
      const nodes = [
        await openDocuments(join(folder.path, "1.db"), "n1"),
        await openDocuments(join(folder.path, "2.db"), "n2"),
      ] as const;
      const reopen = async (again?: Options) => {
        await hub.close();
        return (hub = await open(path, again));
      };
      try {
        const own = { countOf: (sql: string) => countOf(path, sql), files: () => files(path) };
        await run({ hub, nodes, reopen, ...own });
      } finally {
        await hub.close();
        for (const node of nodes) await node.close();
      }
    },
}));
