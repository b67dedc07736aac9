/** What a strong collection does on every node, whichever ledger stands behind it. */
import { strict as assert } from "node:assert";
import type { DocumentChange } from "../../src/client/index.ts";
import type { StrongNode } from "../support/strong.ts";
import { waitFor } from "../support/wait.ts";

const at = "accounts";

/** `nodes` see one ledger, which holds no documents yet. */
export async function strongContract(nodes: readonly [StrongNode, StrongNode]): Promise<void> {
  const stop = new AbortController();
  try {
    await check(nodes, stop.signal);
  } finally {
    stop.abort();
  }
}

async function check(nodes: readonly [StrongNode, StrongNode], signal: AbortSignal): Promise<void> {
  const [{ client: here, url }, { client: there }] = nodes;
  const seen: DocumentChange[] = [];
  void (async () => {
    for await (const change of there.changes(at, { signal })) seen.push(change);
  })();

  // T1: done on one node is read on the other, with what only a strong collection says.
  const made = await here.put(at, "ann/é 1", { owner: "ann", balance: 5 }, { ifVersion: null });
  assert.deepEqual(
    [made.reached, made.consistency, made.changed, made.version],
    ["ledger", "strong", 1, String(made.revision)],
  );
  const read = await there.get(at, "ann/é 1");
  assert.deepEqual(read, {
    collection: at,
    id: "ann/é 1",
    version: made.version,
    schemaVersion: 3,
    body: { owner: "ann", balance: 5 },
    conflicts: [],
    consistency: "strong",
    revision: made.revision,
  });

  // T2: on condition of a version; what is refused changed nothing.
  const refused = { code: "condition-failed" };
  await assert.rejects(there.put(at, "ann/é 1", { owner: "bob" }, { ifVersion: null }), refused);
  await assert.rejects(there.delete(at, "ann/é 1", { ifVersion: "999999" }), refused);
  await assert.rejects(there.merge(at, "none", { owner: "x" }, { ifVersion: "7" }), refused);
  const { version = "" } = await there.change(
    at,
    "ann/é 1",
    [
      { change: "increment", path: "/balance", by: -2 },
      { change: "add", path: "/tags", value: "vip" },
      { change: "add", path: "/tags", value: "vip" },
      { change: "insert", path: "/steps", values: ["a", "c"] },
      { change: "insert", path: "/steps", index: 1, values: ["b"] },
      { change: "delete", path: "/steps", index: 0 },
      { change: "set", path: "/address/city", value: "Ulm" },
    ],
    { ifVersion: made.version ?? "" },
  );
  await assert.rejects(here.put(at, "ann/é 1", { owner: "x" }, { ifVersion: "999999" }), refused);
  const body = {
    address: { city: "Ulm" },
    balance: 3,
    owner: "ann",
    steps: ["b", "c"],
    tags: ["vip"],
  };
  assert.deepEqual((await here.get(at, "ann/é 1"))?.body, body);
  const same = await here.put(at, "ann/é 1", body);
  assert.deepEqual([same.changed, same.version], [0, version]);

  // T3: a batch is one transaction: a condition that fails anywhere leaves all of it as it was.
  const writes = [
    { id: "bob", put: { owner: "bob", balance: 1 } },
    { id: "ann/é 1", merge: { address: null }, ifVersion: version },
    { id: "gone", delete: true },
  ] as const;
  await assert.rejects(there.batch(at, [{ ...writes[0], ifVersion: "9" }, writes[1]]), refused);
  assert.equal(await here.get(at, "bob"), undefined);
  const batch = await there.batch(at, writes);
  assert.equal(batch.changed, 2);
  assert.deepEqual(batch.versions, [String(batch.revision), String(batch.revision), null]);
  await assert.rejects(
    here.batch(at, [
      { id: "carl", put: { owner: "carl" } },
      { id: "dora", put: { balance: 1 } },
    ]),
    { code: "invalid-document", message: /dora\): \/owner is required/ },
  );

  // Lists by id, in pages.
  for (let index = 0; index < 4; index++)
    await here.put(at, `n${index}`, { owner: `owner ${index}` });
  const ids = async (query: string) => {
    const answer = await fetch(`${url}/v1/documents/${at}?${query}`, {
      headers: { authorization: "Bearer good-a" },
    });
    const page = (await answer.json()) as { documents: { id: string }[]; next?: string };
    return [page.documents.map(({ id }) => id).join(), page.next];
  };
  assert.deepEqual(await ids("limit=3"), ["ann/é 1,bob,n0", "n0"]);
  assert.deepEqual(await ids("limit=3&after=n0"), ["n1,n2,n3", undefined]);
  assert.deepEqual(await ids("conflicted=1"), ["", undefined]);

  // T7: a query sees what was answered before it, at any node, and says which version it saw.
  const rows = [];
  for await (const row of there.query(at, { where: "balance >= 1", sort: ["-balance"] }))
    rows.push(row);
  assert.deepEqual(
    rows.map(({ id, version: seenAt, body: { balance } }) => [id, seenAt, balance]),
    [
      ["ann/é 1", String(batch.revision), 3],
      ["bob", String(batch.revision), 1],
    ],
  );
  const owners = await here.groups(at, { aggregate: ["count", "sum(balance)"] });
  assert.deepEqual(owners, [{ group: {}, values: { count: 6, "sum(balance)": 4 } }]);
  await assert.rejects(here.live(at, { where: "balance > 0" })[Symbol.asyncIterator]().next(), {
    code: "invalid-query",
    message: /^live: accounts has consistency: strong/,
  });

  // T4: who follows sees every document as it ends, and what went.
  await here.delete(at, "bob");
  assert.equal((await here.delete(at, "bob")).changed, 0);
  await waitFor(() => seen.some(({ id, deleted }) => id === "bob" && deleted), {
    what: "the deletion to be seen at the other node",
    timeoutMs: 60_000,
  });
  const last = new Map(seen.map((change) => [change.id, change]));
  const ann = last.get("ann/é 1");
  assert.equal(ann?.deleted === false && ann.document.version, String(batch.revision));
  assert.equal(last.size, 6);
  const cursors = seen.map(({ cursor }) => Number(cursor.split(":")[1]));
  assert.deepEqual(
    cursors,
    cursors.toSorted((a, b) => a - b),
  );

  // Writers that meet: each addition counts once.
  const count = [{ change: "increment", path: "/balance", by: 1 }] as const;
  await here.put(at, "till", { owner: "all" });
  await Promise.all(
    Array.from({ length: 4 }, async (_, index) => {
      for (let round = 0; round < 5; round++)
        await untilDone(() => (index % 2 ? here : there).change(at, "till", count));
    }),
  );
  assert.equal((await there.get(at, "till"))?.body["balance"], 20);
}

/** `write-contended` is said to have changed nothing, so sending it again is safe. */
async function untilDone(write: () => Promise<unknown>): Promise<void> {
  for (;;) {
    try {
      await write();
      return;
    } catch (error) {
      assert.equal((error as { code?: string }).code, "write-contended");
    }
  }
}
