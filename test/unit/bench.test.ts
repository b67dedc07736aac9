/** The runner of the benches; what they measure is not a test's business. */
import { strict as assert } from "node:assert";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { interleave, median } from "../../bench/support/bench.ts";

const runner = join(import.meta.dirname, "../../bench/run.ts");

test("bench: a missing or unknown name, or a wrong flag, lists what there is", () => {
  for (const [args, complaint] of [
    [[], /name what to measure/],
    [["nope"], /there is no "nope"/],
    [["ledger", "streams-store"], /one name at a time/],
    [["ledger", "--rounds", "2"], /--rounds 2: must be a whole number of at least 3/],
    [["failover", "--trials", "0"], /--trials 0: must be a whole number of at least 1/],
    [["data-growth", "--entries", "5"], /--entries 5: must be a whole number of at least 100000/],
    [["ledger", "--fast"], /--fast/],
  ] as const) {
    const { status, stderr } = spawnSync(process.execPath, [runner, ...args], { encoding: "utf8" });
    assert.equal(status, 2, stderr);
    assert.match(stderr, complaint);
    assert.match(stderr, /^ {2}ledger +the ledger's put/m);
  }
});

test("bench: contestants take turns, and medians are compared", async () => {
  const order: string[] = [];
  const numbers = [5, 100, 1];
  const { a, b } = await interleave(
    { rounds: 3 },
    {
      a: () => {
        order.push("a");
        return { value: numbers.shift() ?? 0 };
      },
      b: async () => {
        order.push("b");
        return { value: 2 };
      },
    },
  );
  assert.deepEqual(order, ["a", "b", "b", "a", "a", "b"]);
  assert.deepEqual([a, b], [{ value: 5 }, { value: 2 }]);
  assert.equal(median([3, 1, 2]), 2);
});
