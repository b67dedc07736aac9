/** Which transactions may share one of etcd's. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { takeTogether, type Waiting } from "../../src/ledger/etcd/together.ts";
import { seededRandom } from "../../src/lib/random.ts";

type One = Waiting & { readonly name: string };

const one = (name: string, changed: string[], more: Partial<Waiting> = {}): One => ({
  ...{ name, changed, looked: [], operations: changed.length, bytes: 100, ...more },
});
const names = (taken: readonly One[]) => taken.map(({ name }) => name).join("");

test("E11: those that touch other keys go together, in their order; the rest keeps its own", () => {
  const waiting = [
    one("a", ["k/1"]),
    one("b", ["k/2"], { looked: ["k/1"] }),
    one("c", ["k/1"]),
    one("d", ["k/3"], { looked: ["leader"] }),
    one("e", ["k/4"], { looked: ["leader"] }),
    one("f", ["leader"]),
  ];
  assert.equal(names(takeTogether(waiting)), "ade");
  assert.equal(names(takeTogether(waiting)), "bf");
  assert.equal(names(takeTogether(waiting)), "c");
  assert.deepEqual(waiting, []);
});

test("E11: what is too much for one is left for the next, and one that is too much by itself goes alone", () => {
  const big = one("big", ["big"], { bytes: 1_000_000 });
  const many = one("many", ["many"], { operations: 128 });
  const waiting = [big, one("a", ["a"]), many, one("b", ["b"])];
  assert.deepEqual(
    Array.from({ length: 3 }, () => names(takeTogether(waiting))),
    ["big", "ab", "many"],
  );
  const small = Array.from({ length: 1000 }, (_, index) => one("x", [`x/${index}`]));
  const sizes: number[] = [];
  while (small.length > 0) sizes.push(takeTogether(small).length);
  assert.ok(sizes.every((size) => size <= 64));
  assert.equal(
    sizes.reduce((sum, size) => sum + size, 0),
    1000,
  );
});

test("E11: whatever waits, each goes once, and none looks at or changes what another of its group changes", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = seededRandom(seed);
    const keys = () =>
      [...new Set(Array.from({ length: random.integer(3) + 1 }, () => random.integer(12)))].map(
        String,
      );
    const waiting = Array.from({ length: random.integer(60) + 1 }, (_, index) =>
      one(`${index},`, keys(), { looked: random.integer(2) === 0 ? [] : keys() }),
    );
    const before = [...waiting];
    const gone: One[] = [];
    while (waiting.length > 0) {
      const [first] = waiting;
      const taken = takeTogether(waiting);
      assert.equal(taken[0], first, `seed ${seed}: nobody waits for ever`);
      for (const a of taken)
        for (const b of taken)
          if (a !== b)
            assert.ok(
              a.changed.every((key) => !b.changed.includes(key) && !b.looked.includes(key)),
              `seed ${seed}: ${a.name} and ${b.name}`,
            );
      gone.push(...taken);
    }
    assert.deepEqual(new Set(gone), new Set(before));
    assert.equal(gone.length, before.length);
  }
});
