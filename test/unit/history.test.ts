/** B9: one history holds, signed by the cell's authority; an older one is taken by nobody. */
import { strict as assert } from "node:assert";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { podKind, type Pod } from "../../src/api/index.ts";
import {
  createAuthority,
  isLater,
  signHistory,
  verifyHistory,
  type HistoryClaim,
} from "../../src/identity/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { generationOf, historyJump } from "../../src/lib/history.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { createReflection } from "../../src/resources/mirror/reflection.ts";

const claim: HistoryClaim = {
  trustDomain: "mill.skerry",
  generation: 1,
  epoch: "e1",
  atMs: 1000,
  node: "n2",
  api: "127.0.44.12:7443",
};

test("B9: only the cell's own authority says which history holds", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "skerry-history-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const deps = { random: seededRandom(1), nowMs: () => Date.now() };
  const found = (name: string) =>
    createAuthority(deps, { folder: join(folder, name), trustDomain: "mill.skerry" });
  const [own, twin] = await Promise.all([found("own"), found("twin")]);
  const signed = signHistory(own.signer.key.keyPem, claim);
  assert.deepEqual(verifyHistory(own.trust, JSON.parse(JSON.stringify(signed))), signed);
  assert.equal(verifyHistory(own.trust, signHistory(twin.signer.key.keyPem, claim)), undefined);
  const changes: Partial<HistoryClaim>[] = [
    { generation: 2 },
    { epoch: "e2" },
    { atMs: 1 },
    { node: "n3" },
    { api: "127.0.44.13:7443" },
    { trustDomain: "barn.skerry" },
  ];
  for (const change of changes)
    assert.equal(
      verifyHistory(own.trust, { ...signed, claim: { ...claim, ...change } }),
      undefined,
      JSON.stringify(change),
    );
  for (const nonsense of [undefined, null, {}, "x", { claim }, { claim: {}, signature: "" }])
    assert.equal(verifyHistory(own.trust, nonsense), undefined);
});

test("B9: the later generation holds; of two at once the later by the clock", () => {
  assert.ok(isLater(claim, undefined));
  assert.ok(!isLater(claim, claim));
  assert.ok(isLater({ ...claim, generation: 2, atMs: 0 }, claim));
  assert.ok(!isLater({ ...claim, generation: 0, atMs: 9000 }, claim));
  assert.ok(isLater({ ...claim, epoch: "e2", atMs: 1001 }, claim));
  assert.ok(!isLater({ ...claim, epoch: "e2", atMs: 999 }, claim));
  assert.deepEqual(
    [0, 7, historyJump - 1, historyJump, 3 * historyJump + 5].map(generationOf),
    [0, 0, 0, 1, 3],
  );
});

test("B9: a mirror that has seen the new history takes no list of the old one", () => {
  const reflection = createReflection(podKind as never);
  const pod = (name: string, revision: number) =>
    ({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace: "default", uid: name, resourceVersion: String(revision) },
      spec: { containers: [] },
    }) as unknown as Pod;
  reflection.replace([pod("a", 5), pod("b", 6)], "100");
  // Restored from before b was made.
  const restored = 100 + historyJump;
  assert.equal(reflection.replace([pod("a", 5)], String(restored)).length, 1);
  assert.throws(
    () => reflection.replace([pod("a", 5), pod("b", 6)], "120"),
    (error: unknown) => error instanceof SkerryError && error.code === "history-superseded",
  );
  assert.equal(reflection.get({ namespace: "default", name: "b" }), undefined);
  assert.equal(reflection.replace([], String(restored + 1)).length, 1);
});
