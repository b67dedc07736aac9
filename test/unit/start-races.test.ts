/** What two processes that start at once, or a part that ends early, must not do. */
import { strict as assert } from "node:assert";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { storageLost } from "../../src/agent/storage.ts";
import {
  createAuthority,
  createJoinToken,
  createNodeEnrolment,
  openAuthority,
  openNodeIdentity,
  prepareJoin,
} from "../../src/identity/index.ts";
import { whenAborted } from "../../src/lib/abort.ts";
import { systemRandom } from "../../src/runtime/clock/index.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { temporaryFolder } from "../support/identity.ts";
import { memoryTokens } from "../support/tokens.ts";

test("of two that found an authority at once one wins, and it is the one on disk", async () => {
  using folder = temporaryFolder();
  const deps = { random: systemRandom, nowMs: () => Date.now() };
  const found = () =>
    createAuthority(deps, { folder: folder.path, trustDomain: "hub.skerry" }).then(
      ({ pin }) => pin,
      (error: unknown) => (error as { code: string }).code,
    );
  const [first, second] = await Promise.all([found(), found()]);
  const kept = openAuthority(deps, folder.path)?.pin;
  assert.deepEqual([first, second].sort(), ["authority-exists", kept].sort());
});

test("an abort that came before the wait ends it as well", async () => {
  const controller = new AbortController();
  const waiting = whenAborted(controller.signal);
  controller.abort();
  await waiting;
  await whenAborted(AbortSignal.any([controller.signal, new AbortController().signal]));
});

test("the end of the storage thread is a failure with its cause", async () => {
  const cause = new Error("out of memory");
  const lost = await storageLost({ ended: Promise.resolve(cause) });
  assert.deepEqual([lost.code, lost.cause, lost.retryable], ["thread-ended", cause, true]);
});

test("databases are for their owner alone, whoever made the folder", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "skerry-mode-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "a.db");
  const db = openDatabase(path);
  db.exec("CREATE TABLE t (x)");
  for (const ending of ["", "-wal"]) assert.equal(statSync(`${path}${ending}`).mode & 0o777, 0o600);
  db.close();
});

test("a part that cannot take a renewed certificate does not keep it from the others", async () => {
  using folder = temporaryFolder();
  const nowMs = () => Date.now();
  const authority = await createAuthority(
    { random: systemRandom, nowMs },
    { folder: join(folder.path, "ca"), trustDomain: "shop.skerry" },
  );
  const tokens = memoryTokens({ nowMs });
  const enrol = createNodeEnrolment({ authority, tokens, nowMs, apiAddress: () => "127.0.0.1:1" });
  const { token } = await createJoinToken(
    { random: systemRandom, store: tokens, nowMs },
    { cell: "shop", pin: authority.pin, name: "n1" },
  );
  const at = join(folder.path, "node");
  const join_ = await prepareJoin({ folder: at, token, node: "n1", addresses: ["127.0.0.1"] });
  join_.accept(await enrol(join_.request));
  const identity = openNodeIdentity(at);
  assert.ok(identity);
  let told = 0;
  identity.onChange(() => {
    throw new Error("cannot");
  });
  identity.onChange(() => told++);
  const before = identity.identity.chainPem;
  const renewal = await identity.prepareRenewal();
  const answer = await enrol(renewal.request);
  assert.throws(() => renewal.accept(answer), AggregateError);
  assert.equal(told, 1);
  assert.notEqual(identity.identity.chainPem, before);
});
