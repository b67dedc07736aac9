/** Every GlobalDocumentStore that the contract suites are run against, and what nodes send to it. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { stable, type EgressPolicy } from "../../src/api/index.ts";
import {
  connectGlobalDocuments,
  encodeLeaving,
  encodeLeavingSnapshot,
  openGlobalDocuments,
  serveGlobalDocuments,
  type FeedStates,
  type GlobalDocumentMethods,
  type GlobalDocumentStore,
  type LocalDocumentStore,
} from "../../src/data/index.ts";
import { decodeError, encodeError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createOperationGate, createOperationRecheck } from "../../src/privacy/gate/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { temporaryFolder } from "./data.ts";
import { openDocuments } from "./documents.ts";

type Options = { graceMs?: number };

const openHere = (path: string, options: Options = {}): GlobalDocumentStore =>
  openGlobalDocuments(
    {
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      recheck: createOperationRecheck(),
    },
    { path, sweepPeriodMs: 20, ...options },
  );

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
    ["sqlite", openHere],
    ["across a thread", acrossThread],
  ] as const
).map(([name, open]) => ({
  name,
  withParts:
    (
      run: (parts: {
        hub: GlobalDocumentStore;
        nodes: readonly [LocalDocumentStore, LocalDocumentStore];
        path: string;
        reopen(options?: Options): Promise<GlobalDocumentStore>;
      }) => Promise<void>,
      options?: Options,
    ) =>
    async (): Promise<void> => {
      using folder = temporaryFolder();
      const path = join(folder.path, "hub.db");
      let hub = open(path, options);
      const nodes = [
        await openDocuments(join(folder.path, "1.db"), "n1"),
        await openDocuments(join(folder.path, "2.db"), "n2"),
      ] as const;
      const reopen = async (again?: Options) => {
        await hub.close();
        return (hub = open(path, again));
      };
      try {
        await run({ hub, nodes, path, reopen });
      } finally {
        await hub.close();
        for (const node of nodes) await node.close();
      }
    },
}));
