/** Resources on the ledger: what the shared contract cannot reach. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { configMapKind, eventKind, type Event } from "../../src/api/index.ts";
import type { Ledger } from "../../src/ledger/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { createLedgerResources, ensureNamespaces } from "../../src/resources/index.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { openTestLedger, temporaryFolder } from "../support/ledger.ts";
import {
  collect,
  configMap,
  done,
  eventText,
  openLedgerResources,
  refusal,
} from "../support/resources.ts";

const over = (ledger: Ledger) =>
  createLedgerResources({ ledger, clock: systemClock, random: seededRandom(5) });
const at = (name: string) => ({ namespace: "default", name });

test("R2: an unknown outcome is passed on and not tried again", async () => {
  await using fixture = await openLedgerResources();
  let asked = 0;
  const resources = over({
    ...fixture.ledger,
    async transact(...given) {
      asked++;
      await fixture.ledger.transact(...given);
      return { state: "unknown", cause: new Error("the connection was lost") };
    },
  });
  const result = await resources.create(configMapKind, configMap("a"));
  assert.equal(result.state, "unknown");
  assert.equal(asked, 1);
  assert.ok(await fixture.resources.get(configMapKind, at("a")), "it had happened");
});

test("R1: a writer that is always too late is told, in the end", async () => {
  await using fixture = await openLedgerResources();
  done(await fixture.resources.create(configMapKind, configMap("a", { n: "0" })));
  let n = 0;
  const resources = over({
    ...fixture.ledger,
    async transact(...given) {
      done(await fixture.resources.update(configMapKind, configMap("a", { n: String(++n) })));
      return await fixture.ledger.transact(...given);
    },
  });
  const patch = { type: "merge", body: { data: { mine: "1" } } } as const;
  assert.equal(refusal(await resources.patch(configMapKind, at("a"), patch)).reason, "conflict");
});

test("R1: two creators of one name: one wins", async () => {
  await using fixture = await openLedgerResources();
  const results = await Promise.all(
    Array.from({ length: 6 }, (_, n) =>
      fixture.resources.create(configMapKind, configMap("a", { n: String(n) })),
    ),
  );
  assert.equal(results.filter(({ state }) => state === "done").length, 1);
  for (const result of results)
    if (result.state !== "done") assert.equal(refusal(result).reason, "exists");
});

test("R2: what is too large, and names that cannot be, are refused", async () => {
  await using fixture = await openLedgerResources();
  const big = {
    ...configMap("a"),
    metadata: { ...configMap("a").metadata, annotations: { a: "x".repeat(300_000) } },
  };
  assert.match(refusal(await fixture.resources.create(configMapKind, big)).message, /annotations/);
  const odd = refusal(await fixture.resources.create(configMapKind, configMap("a/../b")));
  assert.deepEqual([odd.reason, odd.causes?.[0]?.field], ["invalid", "metadata.name"]);
  assert.equal(await fixture.resources.get(configMapKind, at("a b\n")), undefined);
  assert.equal(await fixture.resources.get(configMapKind, at("")), undefined);
  assert.equal(refusal(await fixture.resources.delete(configMapKind, at("ü"))).reason, "not-found");
});

test("R5: a continue token of another history, or of nobody, begins anew", async () => {
  await using fixture = await openLedgerResources();
  for (const name of ["a", "b", "c"])
    done(await fixture.resources.create(configMapKind, configMap(name)));
  const { continueToken } = await fixture.resources.list(configMapKind, { limit: 1 });
  const restored = over({ ...fixture.ledger, epoch: "another" as Ledger["epoch"] });
  const code = (wanted: string) => (error: unknown) =>
    error instanceof SkerryError && error.code === wanted;
  await assert.rejects(restored.list(configMapKind, { continueToken }), code("compacted"));
  await assert.rejects(
    fixture.resources.list(configMapKind, { continueToken: "bm9uc2Vuc2U" }),
    code("invalid-continue-token"),
  );
  await fixture.ledger.compact((await fixture.ledger.status()).revision);
  done(await fixture.resources.create(configMapKind, configMap("d")));
  await fixture.ledger.compact((await fixture.ledger.status()).revision);
  await assert.rejects(fixture.resources.list(configMapKind, { continueToken }), code("compacted"));
});

test("R5: a page with a selector is full although most objects do not match", async () => {
  await using fixture = await openLedgerResources();
  for (let n = 0; n < 12; n++) {
    const labels: Record<string, string> = n % 4 === 0 ? { pick: "yes" } : {};
    const object = configMap(`c${String(n).padStart(2, "0")}`);
    done(
      await fixture.resources.create(configMapKind, {
        ...object,
        metadata: { ...object.metadata, labels },
      }),
    );
  }
  const first = await fixture.resources.list(configMapKind, {
    labelSelector: "pick=yes",
    limit: 2,
  });
  assert.deepEqual(
    first.items.map(({ metadata }) => metadata.name),
    ["c00", "c04"],
  );
  const second = await fixture.resources.list(configMapKind, {
    labelSelector: "pick=yes",
    limit: 2,
    continueToken: first.continueToken,
  });
  assert.deepEqual(
    second.items.map(({ metadata }) => metadata.name),
    ["c08"],
  );
  assert.equal(second.continueToken, undefined);
});

test("R7: Kubernetes Events go by themselves, also when their lease was lost", async () => {
  await using folder = await temporaryFolder();
  const ledger = openTestLedger({ path: join(folder.path, "ledger.db"), ttlMsMin: 100 });
  let lost = false;
  const resources = over({
    ...ledger,
    async transact(...given) {
      if (!lost && given[1].some((operation) => operation.type === "put" && operation.lease)) {
        lost = true;
        throw new SkerryError({ code: "lease-not-found", message: "expired" });
      }
      return await ledger.transact(...given);
    },
  });
  await ensureNamespaces(resources);
  const shortLived = { ...eventKind, ttlMs: 200 };
  const event: Event = {
    apiVersion: "v1",
    kind: "Event",
    metadata: { name: "started", namespace: "default" },
    involvedObject: { kind: "Pod", name: "a" },
    reason: "Started",
  };
  // By a watch, which tells of it however late it is looked at.
  const told = collect(resources.watch(shortLived), (all) =>
    all.some(({ type }) => type === "DELETED"),
  );
  done(await resources.create(shortLived, event));
  assert.ok(lost);
  assert.deepEqual(
    (await told).map(eventText).filter((text) => text !== "BOOKMARK"),
    ["ADDED started", "DELETED started"],
  );
  assert.equal(await resources.get(shortLived, at("started")), undefined);
  await ledger.close();
});

test("R6: only a node's creator may set its status", async () => {
  await using fixture = await openLedgerResources();
  const deleting = {
    ...configMap("a"),
    metadata: {
      ...configMap("a").metadata,
      deletionTimestamp: "2026-01-01T00:00:00Z",
      uid: "mine",
    },
  };
  const made = done(await fixture.resources.create(configMapKind, deleting));
  assert.equal(made.metadata.deletionTimestamp, undefined);
  assert.notEqual(made.metadata.uid, "mine");
});
