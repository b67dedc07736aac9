/** The hub's stores in SQLite files: what a cell was told is durable there is there, each position once. */
import { join } from "node:path";
import {
  encodeBatch,
  openGlobalDocuments,
  openGlobalStore,
  type DocumentWrite,
  type GlobalDocumentStore,
  type GlobalStore,
} from "../../../data/index.ts";
import { createOperationRecheck, createRecheck } from "../../../privacy/gate/index.ts";
import { deps, few, type Part } from "./part.ts";

const cell = "shop";
const stream = "telemetry";
const filler = (bytes: number) => "x".repeat(bytes);

/* Entries of two nodes: a few at a time, which are rows, and by the hundred, which are sealed as they come. */

type Told = { readonly origin: string; readonly top: number };

export const hubStreamsPart: Part = {
  name: "hub streams",
  async write({ folder, life, random, more, acknowledge }) {
    const store = openStreams(folder);
    const topByOrigin = new Map([1, 2].map((node) => [`n${node}.${life}`, 0]));
    while (more()) {
      for (const [origin, top] of topByOrigin) {
        const count = random.integer(6) === 0 ? 120 : 1 + random.integer(5);
        const bytes = random.integer(count > 100 ? 50 : 2000);
        const { top: told } = await store.ingest(cell, batch(origin, top + 1, top + count, bytes));
        topByOrigin.set(origin, told);
        acknowledge({ origin, top: told } satisfies Told);
      }
    }
  },
  async check(folder, acknowledged) {
    const store = openStreams(folder);
    try {
      return await judgeStreams(store, acknowledged as readonly Told[]);
    } finally {
      await store.close();
    }
  },
};

const openStreams = (folder: string): GlobalStore =>
  openGlobalStore({ ...deps, recheck: createRecheck() }, { path: join(folder, "hub-streams.db") });

const batch = (origin: string, from: number, to: number, bytes: number): Uint8Array =>
  encodeBatch({
    ...{ origin, from, to, policies: { [stream]: { drop: [] } } },
    entries: Array.from({ length: to - from + 1 }, (_, index) => ({
      ...{ stream, atMs: from + index, position: { origin, sequence: from + index } },
      key: { producer: origin, epoch: 1, sequence: from + index },
      body: new TextEncoder().encode(JSON.stringify({ text: filler(bytes) })),
    })),
  });

async function judgeStreams(store: GlobalStore, acknowledged: readonly Told[]): Promise<string[]> {
  const countByPosition = new Map<string, number>();
  let cursor: string | undefined;
  for (let isMore = true; isMore;) {
    const page = await store.read({ cell, after: cursor, limit: 1000 });
    for (const { position } of page.entries) {
      const at = `${position.origin}/${position.sequence}`;
      countByPosition.set(at, (countByPosition.get(at) ?? 0) + 1);
    }
    [cursor, isMore] = [page.cursor, page.more];
  }
  const vector = await store.vector(cell);
  const held = Object.entries(vector).flatMap(([origin, top]) =>
    Array.from({ length: top }, (_, index) => `${origin}/${index + 1}`),
  );
  // Sent again, as a node does that heard no answer, and then on: both as if nothing had been.
  const again = await Promise.all(
    Object.entries(vector).map(async ([origin, top]) => [
      (await store.ingest(cell, batch(origin, 1, top, 1))).stored,
      (await store.ingest(cell, batch(origin, top + 1, top + 3, 1))).stored,
    ]),
  );
  return [
    ...few(
      acknowledged
        .filter(({ origin, top }) => (vector[origin] ?? 0) < top)
        .map(({ origin, top }) => `acknowledged ${origin}/${top} is behind the vector`),
    ),
    ...few(
      held.filter((at) => countByPosition.get(at) !== 1).map((at) => `${at} is not there once`),
    ),
    ...(countByPosition.size === held.length
      ? []
      : [`the vector covers ${held.length} entries, the store holds ${countByPosition.size}`]),
    ...(again.every(([old, fresh]) => old === 0 && fresh === 3)
      ? []
      : [`sent again and on it stored ${JSON.stringify(again)}`]),
  ];
}

/* Documents that are written at the hub, in pairs. */

const collection = "prices";

export const hubDocumentsPart: Part = {
  name: "hub documents",
  async write({ folder, life, random, more, acknowledge }) {
    const store = await openDocuments(folder);
    for (let next = 0; more(); next++) {
      const id = `${life}-${next}`;
      await put(store, id, filler(random.integer(2000)));
      acknowledge(id);
    }
  },
  async check(folder, acknowledged) {
    const store = await openDocuments(folder);
    try {
      return await judgeDocuments(store, acknowledged as readonly string[]);
    } finally {
      await store.close();
    }
  },
};

async function openDocuments(folder: string): Promise<GlobalDocumentStore> {
  const path = join(folder, "hub-documents.db");
  const store = openGlobalDocuments({ ...deps, recheck: createOperationRecheck() }, { path });
  await store.publish({ name: collection });
  return store;
}

async function put(store: GlobalDocumentStore, id: string, text: string): Promise<void> {
  const pair = [id, `${id}-twin`].map((each): DocumentWrite => ({
    ...{ collection, id: each, do: "put", body: { text } },
  }));
  const answer = await store.write(pair);
  if (answer.state !== "stored") throw new Error(`the hub answered ${JSON.stringify(answer)}`);
}

async function judgeDocuments(
  store: GlobalDocumentStore,
  acknowledged: readonly string[],
): Promise<string[]> {
  const textById = new Map<string, string>();
  for (let after: string | undefined; ;) {
    const page = await store.list({ collection, limit: 1000, ...(after ? { after } : {}) });
    for (const { id, body } of page.documents) textById.set(id, String(body["text"]));
    if (page.next === undefined) break;
    after = page.next;
  }
  const half = [...textById].filter(([id, text]) => {
    const other = id.endsWith("-twin") ? id.slice(0, -"-twin".length) : `${id}-twin`;
    return textById.get(other) !== text;
  });
  await put(store, "after-the-cut", "");
  return [
    ...few(
      acknowledged
        .filter((id) => !textById.has(id))
        .map((id) => `acknowledged document ${id} is lost at the hub`),
    ),
    ...few(half.map(([id]) => `document ${id} is at the hub without its other half`)),
  ];
}
