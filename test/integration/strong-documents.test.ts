/** Strong collections over real HTTP, on a server and on a node beyond a link: what they promise (T1 to T8). */
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test, type TestContext } from "node:test";
import { parse } from "yaml";
import type { Collection } from "../../src/api/index.ts";
import { createDocuments } from "../../src/client/index.ts";
import { applicationMethods, collectionMethods } from "../../src/ledger/applications/index.ts";
import type { Ledger } from "../../src/ledger/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { strongContract } from "../contract/strong-documents.ts";
import { openTestLedger, temporaryFolder } from "../support/ledger.ts";
import {
  failing,
  unavailableError,
  withFaults,
  type TransactFault,
} from "../support/ledger-faults.ts";
import {
  accounts,
  startStrongNode,
  startStrongServer,
  strongRemote,
  strongService,
} from "../support/strong.ts";
import { utf8 } from "../support/transport.ts";

const at = "accounts";
const ann = { owner: "ann" };

async function startLedger(t: TestContext): Promise<Ledger> {
  const folder = await temporaryFolder();
  t.after(() => folder[Symbol.asyncDispose]());
  const ledger = openTestLedger({ path: join(folder.path, "ledger.db") });
  t.after(() => ledger.close());
  return ledger;
}

const code = async (work: Promise<unknown>): Promise<string | undefined> => {
  try {
    await work;
    return undefined;
  } catch (error) {
    if (error instanceof SkerryError) return error.code;
    throw error;
  }
};

test("T1 to T4: a server and a node beyond a link have one collection, over SQLite", async (t) => {
  const service = strongService(t, await startLedger(t));
  const server = await startStrongServer(t, service);
  await strongContract([
    await startStrongNode(t, service),
    await startStrongNode(t, strongRemote([server])),
  ]);
});

test("T1, T2: docs/data.md as it teaches strong collections", async (t) => {
  const text = readFileSync(resolve(import.meta.dirname, "../../docs/data.md"), "utf8");
  const [, section = ""] = /^## One truth instead of copies\n(.*?)^## /ms.exec(text) ?? [];
  const [, manifest = ""] = /<<'EOF'\n(.*?)^EOF/ms.exec(section) ?? [];
  const [, example = ""] = /^```js\n(.*?)^```/ms.exec(section) ?? [];
  const { spec } = parse(manifest) as Collection;
  const { client } = await startStrongNode(t, strongService(t, await startLedger(t), {}, "seats"), {
    ...accounts,
    name: "seats",
    fields: (spec?.fields ?? []) as typeof accounts.fields,
  });
  const AsyncFunction = (async () => {}).constructor as new (
    ...parts: string[]
  ) => (...parts: unknown[]) => Promise<unknown>;
  const told = await new AsyncFunction("documents", `${example}; return [late, taken];`)(client);
  assert.deepEqual(told, ["condition-failed", ["12B"]]);
  const seats: unknown[] = [];
  for await (const { id, body } of client.list("seats")) seats.push([id, body]);
  assert.deepEqual(seats, [["12B", { holder: "bob" }]]);
});

test("T5: with no quorum a write is refused and changes nothing; a lost answer is unknown", async (t) => {
  const ledger = await startLedger(t);
  let isLost = false;
  let fault: () => TransactFault | undefined = () => undefined;
  const faulty = {
    ...withFaults(ledger, {
      read: () => (isLost ? unavailableError() : undefined),
      transact: () => (isLost ? { state: "refuse", error: unavailableError() } : fault()),
    }),
    status: async () => ({ ...(await ledger.status()), quorum: isLost ? "lost" : "held" }) as const,
  };
  const { url, client } = await startStrongNode(t, strongService(t, faulty));
  const { version = "" } = await client.put(at, "ann", ann);
  isLost = true;
  for (const work of [
    () => client.put(at, "ann", { owner: "eve" }),
    () => client.batch(at, [{ id: "ann", delete: true }]),
    () => client.get(at, "ann"),
    () => client.list(at)[Symbol.asyncIterator]().next(),
  ])
    await assert.rejects(work, { code: "quorum-lost", retryable: true });
  isLost = false;
  while ((await code(client.get(at, "ann"))) === "quorum-lost") continue;
  assert.equal((await client.get(at, "ann"))?.version, version);

  // Applied or not, nobody can tell who was not answered; and it is not sent again by anybody.
  const send = (owner: string) =>
    fetch(`${url}/v1/documents/${at}/ann`, {
      method: "PUT",
      headers: { authorization: "Bearer good-a", "content-type": "application/json" },
      body: JSON.stringify({ owner }),
    });
  for (const [state, owner] of [
    ["lose-answer", "bob"],
    ["lose-request", "carl"],
  ] as const) {
    fault = failing({ state });
    const answer = await send(owner);
    const { state: told, error } = (await answer.json()) as {
      state: string;
      error: { code: string; retryable: boolean };
    };
    assert.deepEqual(
      [answer.status, told, error.code, error.retryable],
      [504, "unknown", "outcome-unknown", false],
    );
  }
  assert.deepEqual((await client.get(at, "ann"))?.body, { owner: "bob" });

  // Beyond a link: no server can be reached.
  const far = await startStrongNode(t, strongRemote([]));
  await assert.rejects(far.client.put(at, "ann", ann), { code: "server-lost", retryable: true });
});

test("T8: whose answer was lost may send it again under its key; clients do so by themselves", async (t) => {
  const ledger = await startLedger(t);
  let fault: () => TransactFault | undefined = () => undefined;
  const faulty = withFaults(ledger, { transact: () => fault() });
  const service = strongService(t, faulty);
  const server = await startStrongServer(t, service);
  const { url } = await startStrongNode(t, service);
  const far = await startStrongNode(t, strongRemote([server]));
  const deposit = [{ change: "increment", path: "/balance", by: 5 }] as const;
  const send = async (at_: string, key: string, body: object = deposit) => {
    const answer = await fetch(`${at_}/v1/documents/${at}/ann`, {
      method: "PATCH",
      headers: {
        authorization: "Bearer good-a",
        "content-type": "application/json",
        "idempotency-key": key,
      },
      body: JSON.stringify(body),
    });
    const told = (await answer.json()) as Record<string, unknown>;
    return { ...told, status: answer.status } as Record<string, unknown>;
  };
  await far.client.put(at, "ann", ann);
  fault = failing({ state: "lose-answer" });
  const lost = await send(url, "sale-1");
  assert.deepEqual(
    [lost.status, lost["state"], (lost["error"] as { retryable: boolean }).retryable],
    [504, "unknown", true],
  );
  const told = await send(far.url, "sale-1");
  const { version } = (await far.client.get(at, "ann")) ?? {};
  assert.deepEqual(
    [told.status, told["repeated"], told["version"], told["changed"]],
    [200, true, version, 1],
  );
  assert.equal((await send(url, "sale-1", [...deposit, ...deposit])).status, 400);

  for (const state of ["lose-answer", "lose-request"] as const) {
    fault = failing({ state }, 2);
    await far.client.change(at, "ann", deposit);
  }
  fault = failing({ state: "lose-answer" });
  await far.client.change(at, "ann", deposit, { key: "sale-2" });
  assert.equal((await far.client.change(at, "ann", deposit, { key: "sale-2" })).repeated, true);
  assert.deepEqual((await far.client.get(at, "ann"))?.body, { balance: 20, owner: "ann" });
  fault = failing({ state: "lose-answer" });
  const made = await far.client.put(at, "bob", { owner: "bob" }, { ifVersion: null });
  assert.equal(made.repeated, true);
});

test("T6: a link answers for strong collections only, to a token that is good, and takes documents only", async (t) => {
  const ledger = await startLedger(t);
  const { link } = await startStrongServer(t, strongService(t, ledger));
  const ask = (body: object, method = collectionMethods.call) =>
    link()?.request(method, utf8(JSON.stringify(body))) ?? Promise.reject(new Error("no link"));
  const good = { token: "good-a", collection: at };
  const key = Buffer.from("ann").toString("hex");
  const read = { type: "read", keys: [key] };
  const put = (value: unknown, under = key) => ({
    type: "transact",
    when: [],
    writes: [{ key: under, value: Buffer.from(JSON.stringify(value) ?? "").toString("base64") }],
  });
  assert.equal(await code(ask({ ...good, request: read })), undefined);
  const refused: [object, string][] = [
    [{ ...good, token: "forged", request: read }, "unauthenticated"],
    [{ collection: at, request: read }, "unauthenticated"],
    [{ ...good, collection: "items", request: read }, "collection-unknown"],
    [{ ...good, collection: ["accounts"], request: read }, "collection-unknown"],
    [{ token: "good-a", request: read }, "collection-unknown"],
    [{ ...good, request: { type: "read", keys: ["../app:a/keys/k"] } }, "invalid-request"],
    [{ ...good, request: { type: "read", keys: Array(65).fill(key) } }, "invalid-request"],
    [{ ...good, request: { type: "session-create" } }, "invalid-request"],
    [{ ...good, request: { type: "put", key, value: "" } }, "invalid-request"],
    [{ ...good, request: { type: "describe" } }, "invalid-request"],
    [{ ...good, request: put("text") }, "invalid-request"],
    [{ ...good, request: put({ schemaVersion: 1, body: [] }) }, "invalid-request"],
    [{ ...good, request: put({ schemaVersion: 1, body: {}, more: 1 }) }, "invalid-request"],
    [{ ...good, request: put({ schemaVersion: 1, body: {} }, "zz") }, "invalid-request"],
    [{ ...good, request: put({ schemaVersion: 1, body: {} }, "c3") }, "invalid-request"],
    [{ ...good, request: put("x".repeat(70_000)) }, "invalid-request"],
    [{ ...good, request: { type: "transact", when: [] } }, "invalid-request"],
    [{ ...good, request: { ...read, once: "../keys/00" } }, "invalid-request"],
    [
      {
        ...good,
        request: {
          type: "transact",
          when: [],
          writes: [],
          once: { id: "x".repeat(43), value: "" },
        },
      },
      "invalid-request",
    ],
  ];
  for (const [body, expected] of refused)
    assert.equal(await code(ask(body)), expected, JSON.stringify(body).slice(0, 120));
  // Coordination's own method is another one: nothing of a collection is reached by it.
  assert.equal(
    await code(ask({ ...good, request: read }, applicationMethods.call)),
    "unknown-method",
  );
  assert.deepEqual((await ledger.list("")).items, []);
});

test("T6: every route wants a token, and what is wrong with a request is named and changes nothing", async (t) => {
  const ledger = await startLedger(t);
  const limits = { keys: 3, bytes: 100_000 };
  const { url, client } = await startStrongNode(t, strongService(t, ledger, { limits }));
  for (const [method, path] of [
    ["GET", "/ann"],
    ["GET", ""],
    ["GET", "?follow=1"],
    ["PUT", "/ann"],
    ["PATCH", "/ann"],
    ["DELETE", "/ann"],
    ["POST", ""],
  ] as const)
    for (const authorization of ["", "Bearer forged"])
      assert.equal(
        (await fetch(`${url}/v1/documents/${at}${path}`, { method, headers: { authorization } }))
          .status,
        401,
        `${method} ${path}`,
      );

  const send = async (method: string, path: string, body: unknown, headers: object = {}) => {
    const answer = await fetch(`${url}/v1/documents/${path}`, {
      method,
      headers: {
        authorization: "Bearer good-a",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const { error } = (await answer.json()) as { error?: { code: string } };
    return `${answer.status} ${error?.code}`;
  };
  const one = `${at}/ann`;
  const cases: [string, Parameters<typeof send>][] = [
    ["400 invalid-query", ["PUT", one, ann, { "idempotency-key": "k".repeat(257) }]],
    ["400 invalid-query", ["PUT", one, ann, { "write-id": "short" }]],
    ["400 invalid-query", ["PUT", one, ann, { "write-id": `${"k".repeat(16)}; once` }]],
    ["400 level-impossible", ["PUT", `${one}?durability=peer(1)`, ann]],
    ["400 level-impossible", ["PUT", `${one}?durability=hub`, ann]],
    ["400 invalid-document", ["PUT", one, ann, { "if-match": "12" }]],
    ["400 invalid-document", ["PUT", one, ann, { "if-none-match": '"12"' }]],
    ["400 invalid-document", ["PUT", one, ann, { "if-match": '"1"', "if-none-match": "*" }]],
    ["412 condition-failed", ["PUT", one, ann, { "if-match": '"12"' }]],
    ["400 invalid-document", ["PUT", one, {}]],
    ["400 invalid-document", ["PUT", one, { owner: 7 }]],
    ["413 document-too-large", ["PUT", one, { owner: "x".repeat(61_440) }]],
    ["400 invalid-document", ["PATCH", one, [{ change: "edit", path: "/owner", delta: [] }]]],
    ["400 invalid-document", ["PATCH", one, [{ change: "increment", path: "/owner", by: 1 }]]],
    ["400 invalid-document", ["POST", at, { writes: [{ id: "x".repeat(257), put: ann }] }]],
    ["404 document-unknown", ["GET", one, undefined]],
    ["400 invalid-query", ["GET", `${at}?since=0`, undefined]],
    ["400 invalid-cursor", ["GET", `${at}?follow=1&since=x`, undefined]],
    ["410 compacted", ["GET", `${at}?follow=1&since=other:1`, undefined]],
    // A collection that merges cannot keep a condition, so it does not take one.
    ["400 invalid-document", ["PUT", "items/x", {}, { "if-none-match": "*" }]],
    ["400 invalid-document", ["POST", "items", { writes: [{ id: "x", put: {}, ifVersion: "1" }] }]],
    ["400 invalid-document", ["POST", at, { writes: [{ id: "x", put: ann, ifVersion: 1 }] }]],
    [
      "400 invalid-document",
      [
        "POST",
        at,
        {
          writes: [
            { id: "x", put: ann },
            { collection: "items", id: "y", put: {} },
          ],
        },
      ],
    ],
    [
      "413 batch-too-large",
      ["POST", at, { writes: Array.from({ length: 65 }, (_, id) => ({ id: `${id}`, put: ann })) }],
    ],
  ];
  for (const [expected, asked] of cases)
    assert.equal(await send(...asked), expected, JSON.stringify(asked).slice(0, 150));
  assert.deepEqual((await ledger.list("")).items, []);

  // The quota: of documents, and of bytes; what is there can still be made smaller.
  const large = "x".repeat(40_000);
  for (const id of ["a", "b"]) await client.put(at, id, { owner: large });
  const full = { code: "quota-exceeded" };
  await assert.rejects(client.put(at, "c", { owner: large }), { ...full, message: /^bytes: / });
  await client.put(at, "c", ann);
  await assert.rejects(client.put(at, "d", ann), { ...full, message: /^keys: 3 in use/ });
  await client.put(at, "a", ann);
  await client.delete(at, "b");
  await client.put(at, "d", { owner: large });
  const other = createDocuments({ url, token: "good-b" });
  assert.equal((await other.get(at, "d"))?.id, "d");
});
