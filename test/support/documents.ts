/** What the tests of documents share: collections, stores in temporary folders, comparing stores. */
import { stable } from "../../src/api/index.ts";
import {
  openDocumentStore,
  type CollectionDeclaration,
  type Document,
  type LocalDocumentStore,
  type DocumentStore,
  type DocumentWrite,
  type WriteAnswer,
} from "../../src/data/index.ts";
import { items } from "../../src/drill/simulated/convergence/documents.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";

export { items };
export const notes: CollectionDeclaration = {
  name: "notes",
  schemaVersion: 3,
  onMismatch: "warn",
  fields: [{ path: "/text", type: "string", required: true }],
};

/** Declared with `items` and `notes`. */
export async function openDocuments(
  path: string,
  node = "n1",
  options: { fileBytesMax?: number } = {},
): Promise<LocalDocumentStore> {
  const store = openDocumentStore(
    { clock: systemClock, random: systemRandom, log: silentLog },
    { path, node, ...options },
  );
  await store.declare([items, notes]);
  return store;
}

export async function write(
  store: Pick<DocumentStore, "write">,
  ...writes: readonly DocumentWrite[]
): Promise<WriteAnswer & { state: "stored" }> {
  const answer = await store.write(writes);
  if (answer.state !== "stored") throw new Error(JSON.stringify(answer));
  return answer;
}

export const put = (id: string, body: Document["body"], collection = "items"): DocumentWrite => ({
  collection,
  id,
  do: "put",
  body,
});

export const bodyOf = async (
  store: Pick<DocumentStore, "read">,
  id: string,
  collection = "items",
): Promise<string | undefined> => {
  const document = await store.read({ collection, id });
  return document && stable(document.body);
};

/** Everything that readers can see of a collection, as text. */
export async function listing(
  store: Pick<DocumentStore, "list">,
  collection = "items",
): Promise<string[]> {
  const lines: string[] = [];
  for (let after: string | undefined; ;) {
    const page = await store.list({ collection, limit: 1000, ...(after ? { after } : {}) });
    lines.push(...page.documents.map(stable));
    if (page.next === undefined) return lines;
    after = page.next;
  }
}

/** Forgets all that is applied, or up to there. */
export async function truncate(
  store: Pick<DocumentStore, "vector" | "truncate">,
  acked?: Awaited<ReturnType<DocumentStore["vector"]>>,
): Promise<number> {
  const limits = { acked: acked ?? (await store.vector()), bytesMax: Infinity, rowsMax: 2 };
  let operations = 0;
  for (let more = true; more;) {
    const gone = await store.truncate(limits);
    operations += gone.operations;
    more = gone.more;
  }
  return operations;
}

/** The documents of `from` as they are; gives how many pieces they took. */
export async function fill(
  from: Pick<DocumentStore, "snapshots">,
  to: Pick<DocumentStore, "vector" | "snapshots">,
  force = false,
): Promise<number> {
  for (let pieces = 1; ; pieces++) {
    const { at: after } = await to.snapshots.place();
    const wish = { vector: await to.vector(), force, after };
    const bytes = await from.snapshots.give(wish);
    if (!bytes) return 0;
    const taken = await to.snapshots.take(bytes);
    if (taken.state === "adopted") return pieces;
    if (taken.state !== "staged") throw new Error(taken.state);
  }
}

/** What `to` lacks of `from`, in pieces of about `bytesMax`. */
export async function replicate(
  from: Pick<DocumentStore, "vector" | "log">,
  to: Pick<DocumentStore, "vector"> & { apply(bytes: Uint8Array): Promise<{ top: number }> },
  bytesMax = 1000,
): Promise<void> {
  for (const [origin, top] of Object.entries(await from.vector())) {
    for (let have = (await to.vector())[origin] ?? 0; have < top;) {
      const batch = await from.log({ origin, from: have + 1, bytesMax });
      if (!batch) throw new Error(`nothing of ${origin} from ${have + 1}`);
      have = (await to.apply(batch.bytes)).top;
    }
  }
}
