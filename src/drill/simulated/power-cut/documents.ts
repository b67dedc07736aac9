/** Documents: acknowledged batches are there whole, and positions of one origin are never given twice. */
import { join } from "node:path";
import { openDocumentStore, type DocumentStore, type DocumentWrite } from "../../../data/index.ts";
import { claimSameDisk } from "./same-disk.ts";
import { deps, few, type Part } from "./part.ts";

const collection = { name: "items", schemaVersion: 1, onMismatch: "refuse", fields: [] } as const;
const clients = 4;

type Written = { readonly id: string; readonly origin: string; readonly position: number };

export const documentsPart: Part = {
  name: "documents",
  async write({ folder, life, random, more, acknowledge }) {
    const path = join(folder, "documents.db");
    let store = await openDocuments(path);
    let next = 0;
    while (more()) {
      // An ordered stop now and then: what it notes about its end must be true later.
      if (next > 0 && random.integer(40) === 0) {
        await store.close();
        store = await openDocuments(path);
      }
      const ids = Array.from({ length: clients }, () => `${life}-${++next}`);
      const fill = "x".repeat(random.integer(3000));
      const written = await Promise.all(ids.map((id) => write(store, pairOf(id, fill))));
      for (const [index, at] of written.entries())
        acknowledge({ id: ids[index] ?? "", ...at } satisfies Written);
    }
  },
  async check(folder, acknowledged) {
    const path = join(folder, "documents.db");
    claimSameDisk(path);
    const store = await openDocuments(path);
    try {
      return await judge(store, acknowledged as readonly Written[]);
    } finally {
      await store.close();
    }
  },
};

const pairOf = (id: string, fill: string): DocumentWrite[] =>
  [id, `${id}-twin`].map((each) => ({
    collection: collection.name,
    id: each,
    do: "put",
    body: { of: id, fill },
  }));

async function openDocuments(path: string): Promise<DocumentStore> {
  const store = openDocumentStore(deps, { path, node: "n1" });
  await store.declare([collection]);
  return store;
}

/** Where it stands in the store's own log: others stand in one that ended before. */
async function write(
  store: DocumentStore,
  pair: readonly DocumentWrite[],
): Promise<Omit<Written, "id">> {
  const answer = await store.write(pair);
  if (answer.state !== "stored") throw new Error(`the store answered ${JSON.stringify(answer)}`);
  const [version = ""] = answer.versions;
  const dash = (version ?? "").lastIndexOf("-");
  return {
    origin: (version ?? "").slice(0, dash),
    position: Number((version ?? "").slice(dash + 1)),
  };
}

async function judge(store: DocumentStore, acknowledged: readonly Written[]): Promise<string[]> {
  const ofById = new Map<string, string>();
  for (let after: string | undefined; ;) {
    const page = await store.list({
      collection: collection.name,
      limit: 1000,
      ...(after === undefined ? {} : { after }),
    });
    for (const { id, body } of page.documents) ofById.set(id, String(body["fill"]));
    if (page.next === undefined) break;
    after = page.next;
  }
  const given = await write(store, pairOf("after-the-cut", ""));
  const half = [...ofById].filter(([id, fill]) => {
    const other = id.endsWith("-twin") ? id.slice(0, -"-twin".length) : `${id}-twin`;
    return ofById.get(other) !== fill;
  });
  return [
    ...few(
      acknowledged
        .filter(({ id }) => !ofById.has(id))
        .map(({ id }) => `acknowledged document ${id} is lost`),
    ),
    ...few(half.map(([id]) => `document ${id} is there without its other half`)),
    ...few(
      acknowledged
        .filter(({ origin, position }) => origin === given.origin && position >= given.position)
        .map(({ position }) => `position ${position} was given twice`),
    ),
  ];
}
