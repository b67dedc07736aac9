/** Join tokens of a cell with several servers. */
import { strict as assert } from "node:assert";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  createJoinToken,
  createLedgerTokenStore,
  redeemJoinToken,
  takeOverTokens,
} from "../../src/identity/index.ts";
import { systemRandom } from "../../src/runtime/clock/index.ts";
import { openTestLedger, temporaryFolder } from "../support/ledger.ts";
import { memoryTokens, writeFolderTokens } from "../support/tokens.ts";

const nowMs = () => 1_000;
const cell = { cell: "cell-a", pin: "p".repeat(43), lifetimeMs: 60_000 };
const redeem = (store: Parameters<typeof redeemJoinToken>[0]["store"], token: string, by: string) =>
  redeemJoinToken({ store, nowMs }, { token, trustDomain: "cell-a.skerry", name: "n2", by });

test("I10: a token is spent once in the whole cell, at whichever server", async () => {
  await using folder = await temporaryFolder();
  await using ledger = openTestLedger({ path: join(folder.path, "ledger.db") });
  const [n1, n2] = [0, 1].map(() => createLedgerTokenStore({ ledger, nowMs }));
  assert.ok(n1 && n2);
  const { token } = await createJoinToken(
    { random: systemRandom, store: n1, nowMs },
    { ...cell, server: true },
  );
  assert.equal((await redeem(n2, token, "key-a")).server, true);
  await redeem(n1, token, "key-a");
  await assert.rejects(redeem(n1, token, "key-b"), { code: "token-used" });
  const racers = await createJoinToken({ random: systemRandom, store: n2, nowMs }, cell);
  const tries = await Promise.allSettled(
    ["a", "b", "c"].map((by, index) => redeem(index === 0 ? n1 : n2, racers.token, by)),
  );
  assert.equal(tries.filter(({ status }) => status === "fulfilled").length, 1);
});

test("I10: tokens that an earlier version kept in files move into the ledger, used ones as used", async () => {
  await using folder = await temporaryFolder();
  await using ledger = openTestLedger({ path: join(folder.path, "ledger.db") });
  const earlier = memoryTokens({ nowMs });
  const make = () => createJoinToken({ random: systemRandom, store: earlier, nowMs }, cell);
  const [spent, open] = [await make(), await make()];
  const kept = await Promise.all([spent, open].map(({ id }) => earlier.get(id)));
  writeFolderTokens(
    join(folder.path, "tokens"),
    kept.flatMap((token) =>
      token ? [{ token, ...(token.id === spent.id && { usedBy: "key-a" }) }] : [],
    ),
  );
  assert.equal(await takeOverTokens(ledger, join(folder.path, "tokens")), 2);
  assert.equal(existsSync(join(folder.path, "tokens")), false);
  assert.equal(await takeOverTokens(ledger, join(folder.path, "tokens")), 0);
  const store = createLedgerTokenStore({ ledger, nowMs });
  await assert.rejects(redeem(store, spent.token, "key-b"), { code: "token-used" });
  await redeem(store, open.token, "key-b");
});
