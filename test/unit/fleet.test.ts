import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { NodeReport } from "../../src/api/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { createCellBook, decodeHubHeard, encodeHubHeard } from "../../src/fleet/index.ts";
import { nodeReport } from "../support/status.ts";

const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const enrolled = [{ cell: "shop", enrolledAt: "2026-06-01T00:00:00.000Z" }];

function openBook() {
  const clock = createSimulatedClock();
  const book = createCellBook({ clock });
  return {
    clock,
    book,
    beat: (node: string, more: Partial<NodeReport> = {}) =>
      book.heard("shop", node, bytes(nodeReport(node, more))),
    cell: () => {
      const [cell] = book.status("hub", enrolled, []).cells;
      assert.ok(cell);
      return cell;
    },
  };
}

test("a cell is never heard, connected, then silent; its last words do not count as new", async () => {
  const { clock, beat, cell } = openBook();
  assert.deepEqual(
    [cell().state, cell().lastContactMs, cell().rung],
    ["never", undefined, undefined],
  );
  beat("n1", { rung: "alone" });
  beat("n2");
  assert.deepEqual([cell().state, cell().rung], ["connected", "alone"]);
  assert.deepEqual(cell().nodesConnected, ["n1", "n2"]);
  assert.deepEqual(cell().words, ["n1 says: alone"]);
  await clock.advance(4000);
  beat("n2");
  await clock.advance(2000);
  assert.deepEqual(
    [cell().nodesConnected, cell().rung, cell().words],
    [["n2"], "whole", ["all is well"]],
  );
  await clock.advance(10_000);
  assert.deepEqual(
    [cell().state, cell().lastContactMs, cell().nodesConnected],
    ["silent", 12_000, []],
  );
  assert.match(cell().words[0] ?? "", /^not heard for 12s/);
});

test("what waits in a cell is the sum over its nodes, its age the oldest", () => {
  const { beat, cell } = openBook();
  const hub = (entries: number, oldestMs: number) => ({
    hub: { state: "connected" as const, backlog: { entries, bytes: entries * 10, oldestMs } },
  });
  beat("n1", hub(3, 500));
  beat("n2", hub(4, 100));
  assert.deepEqual(cell().backlog, { entries: 7, bytes: 70, oldestMs: 500 });
});

test("only streams and nodes of the cell itself are shown as its own", () => {
  const { book, beat } = openBook();
  beat("n1");
  const streams = [
    { cell: "shop", name: "a", entries: 1, bytes: 2 },
    { cell: "other", name: "b", entries: 1, bytes: 2 },
  ];
  const both = [...enrolled, { cell: "other", enrolledAt: "" }];
  const [shop, other] = book.status("hub", both, streams).cells;
  assert.deepEqual(shop?.streams, [{ name: "a", entries: 1, bytes: 2 }]);
  assert.deepEqual([other?.state, other?.nodesConnected], ["never", []]);
});

test("what is no report names its field and changes nothing", () => {
  const { book, cell } = openBook();
  const wrong: [Uint8Array, RegExp][] = [
    [new TextEncoder().encode("{"), /not JSON/],
    [bytes(null), /^report/],
    [bytes(nodeReport("n2")), /^node/],
    [bytes({ ...nodeReport("n1"), rung: "fine" }), /^rung/],
    [bytes({ ...nodeReport("n1"), hub: { state: "none" } }), /^hub\.backlog/],
  ];
  for (const [body, words] of wrong)
    assert.throws(
      () => book.heard("shop", "n1", body),
      (error) =>
        error instanceof SkerryError &&
        error.code === "invalid-report" &&
        words.test(error.message),
    );
  assert.equal(cell().state, "never");
});

test("nodes not heard for a day are forgotten, and there are never more than 200", async () => {
  const { clock, book, beat } = openBook();
  beat("old");
  await clock.advance(25 * 3_600_000);
  for (let i = 0; i < 250; i++) beat(`n${i}`);
  const ages = book.agesOfOthers("shop", "n249");
  assert.equal("old" in ages, false);
  assert.ok(Object.keys(ages).length <= 199);
  assert.equal(ages["n248"], 0);
});

test("a node is told how long ago the hub heard the others of its cell, and of no other cell", async () => {
  const { clock, book, beat } = openBook();
  beat("n1");
  book.heard("other", "x1", bytes(nodeReport("x1")));
  await clock.advance(700);
  beat("n2");
  assert.deepEqual(book.agesOfOthers("shop", "n2"), { n1: 700 });
  assert.deepEqual(book.agesOfOthers("nobody", "n2"), {});
});

test("the hub's answer comes out as it went in; what is no age is refused by name", () => {
  assert.deepEqual(decodeHubHeard(encodeHubHeard({ n1: 0, n2: 12.5 })), { n1: 0, n2: 12.5 });
  for (const [value, words] of [
    [{ n1: -1 }, /^n1: -1/],
    [{ n1: "5" }, /^n1: "5"/],
    [[1], /^answer/],
    [null, /^answer/],
  ] as const)
    assert.throws(() => decodeHubHeard(bytes(value)), { code: "invalid-report", message: words });
  assert.throws(() => decodeHubHeard(new Uint8Array()), { code: "invalid-report" });
});
