/**
 * Three to seven stores of documents under lost, delayed, repeated and reordered messages, cuts,
 * power cuts at any single write, and clocks that are years off or step. Checked all the way: what is
 * seen has its causes with it, and batches are whole. After the heal: all stores are equal, and equal
 * to the model of their operations; nothing acknowledged is missing.
 */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { stable } from "../../src/api/index.ts";
import type { DocumentWrite, FieldChange } from "../../src/data/index.ts";
import { show } from "../../src/data/documents/body.ts";
import { isObject, type JsonObject } from "../../src/data/documents/json.ts";
import { readOperation } from "../../src/data/documents/operation.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { seededRandom, type Random } from "../../src/lib/random.ts";
import {
  createSimulatedCell,
  type Planted,
  type SimulatedCell,
  type SimulatedNode,
} from "../support/documents-cell.ts";
import type { Made } from "../support/documents-history.ts";
import { modelOf } from "../support/documents-model.ts";
import { noFaults } from "../support/data-links.ts";

const seeds = process.env["DOCUMENTS_SIM_SEED"]
  ? [Number(process.env["DOCUMENTS_SIM_SEED"])]
  : [1, 2, 3, 4, 5, 6];

for (const seed of seeds) {
  test(`M1, M2, M7, M8: convergence, causality, nothing lost, seed ${seed} (DOCUMENTS_SIM_SEED=${seed} node --test test/sim/documents.test.ts)`, () =>
    simulate(seed, "none"));
}

for (const [planted, found] of [
  ["lost-row", /differs|acknowledged/],
  ["lost-operation", /acknowledged|differs/],
  ["no-waiting", /without its cause|differs|batch/],
] as const) {
  test(`the checkers find a planted fault: ${planted}`, async () => {
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      const failure = await simulate(seed, planted).then(
        () => undefined,
        (error: Error) => error,
      );
      if (!failure) continue;
      assert.match(failure.message, found);
      return;
    }
    assert.fail("nothing was found");
  });
}

type Acknowledged = { readonly origin: string; readonly sequence: number; readonly text: string };
/** What the writes of the tally must come to, and what those without an answer may add. */
type Tally = { acked: number; unknown: number; ackedTags: string[]; unknownTags: string[] };

async function simulate(seed: number, planted: Planted): Promise<void> {
  const random = seededRandom(seed);
  const clock = createSimulatedClock();
  const chance = (share: number) => random.float() < share;
  const pick = <T>(list: readonly T[]): T => list[random.integer(list.length)] as T;
  const cell = createSimulatedCell(
    { clock, random },
    {
      nodes: 3 + random.integer(5),
      planted,
      faults: { lost: 0.04, unanswered: 0.04, doubled: 0.08, delayMsMax: 80 },
    },
  );
  const { nodes } = cell;
  const connectAll = () => {
    for (const [index, a] of nodes.entries())
      for (const b of nodes.slice(index + 1)) cell.connect(a, b);
  };
  connectAll();
  const acknowledged: Acknowledged[] = [];
  const tally: Tally = { acked: 0, unknown: 0, ackedTags: [], unknownTags: [] };

  const write = (
    node: SimulatedNode,
    request: readonly DocumentWrite[],
    count?: { by: number; tag: string },
  ) => {
    if (!node.up) return;
    node.tables.cutAfter = chance(0.04) ? random.integer(6) : undefined;
    const { store } = node;
    try {
      const written = store.write(request, chance(0.02));
      if (!written) {
        tally.unknown += count?.by ?? 0;
        if (count) tally.unknownTags.push(count.tag);
        return;
      }
      assert.equal(written.state, "written", stable(written));
      if (written.state !== "written" || written.changed === 0) return;
      const { name, stored } = store.engine.own;
      const text = node.tables.logs().get(name)?.[stored - 1]?.text ?? "";
      acknowledged.push({ origin: name, sequence: stored, text });
      tally.acked += count?.by ?? 0;
      if (count) tally.ackedTags.push(count.tag);
    } catch (error) {
      if (!(error instanceof SkerryError) || error.code !== "closed") throw error;
    } finally {
      node.tables.cutAfter = undefined;
    }
  };

  for (let step = 0; step < 350; step++) {
    const node = pick(nodes);
    const other = pick(nodes);
    const dice = random.float();
    if (dice < 0.35) write(node, randomRequest(random));
    else if (dice < 0.5) {
      const by = 1 + random.integer(9);
      const tag = `${node.name}-${step}`;
      write(node, [tallyWrite(by, tag)], { by, tag });
    } else if (dice < 0.68) {
      if (node.up) write(node, causalPair(node));
    } else if (dice < 0.78) cell.cut(node, other);
    else if (dice < 0.9) cell.connect(node, other);
    else if (dice < 0.92) {
      if (node.up) node.tables.cutAfter = random.integer(8);
    } else if (dice < 0.94) cell.crash(node);
    else if (dice < 0.97) {
      cell.start(node);
      for (const peer of nodes) if (chance(0.6)) cell.connect(node, peer);
    } else node.skewMs = pick([0, 5000, -5000, 366 * 86_400_000, -60 * 366 * 86_400_000]);
    await clock.advance(random.integer(120));
    checkCauses(pick(nodes));
  }

  for (const node of nodes) {
    cell.start(node);
    node.tables.cutAfter = undefined;
  }
  cell.faults = noFaults;
  connectAll();
  for (let waited = 0; ; waited++) {
    await clock.advance(500);
    for (const node of nodes) checkCauses(node);
    if (isSettled(cell)) break;
    assert.ok(
      waited < 400,
      `vectors: not equal after ${waited / 2} virtual seconds, so a store differs`,
    );
  }
  checkAcknowledged(cell, acknowledged, tally);
  checkStores(cell);
  cell.stop();
}

const names = ["a", "b", "c"];
const words = ["red", "green", "blue"];

function randomRequest(random: Random): DocumentWrite[] {
  const pick = <T>(list: readonly T[]): T => list[random.integer(list.length)] as T;
  const one = (): DocumentWrite => {
    const at = { collection: "items", id: pick(names) };
    const dice = random.float();
    if (dice < 0.12) return { ...at, do: "delete" };
    if (dice < 0.3) {
      const body = {
        name: pick(words),
        stock: random.integer(20),
        tags: [pick(words)],
        steps: words.slice(random.integer(3)),
      };
      return { ...at, do: "put", body };
    }
    if (dice < 0.5)
      return {
        ...at,
        do: "merge",
        patch: {
          size: pick([1, null, { mm: 3 }, { mm: null, inch: 2 }]) as never,
          name: pick(words),
        },
      };
    const changes: FieldChange[] = [
      pick<FieldChange>([
        { change: "increment", path: "/stock", by: random.integer(9) - 4 },
        { change: "add", path: "/tags", value: pick(words) },
        { change: "discard", path: "/tags", value: pick(words) },
        {
          change: "insert",
          path: "/steps",
          index: random.integer(4),
          values: [pick(words), pick(words)],
        },
        { change: "delete", path: "/steps", index: random.integer(3) },
        { change: "set", path: "/size/mm", value: random.integer(5) },
        { change: "remove", path: "/size" },
      ]),
    ];
    return { ...at, do: "change", changes };
  };
  return random.float() < 0.2 ? [one(), one()] : [one()];
}

const tallyWrite = (by: number, tag: string): DocumentWrite => ({
  collection: "items",
  id: "tally",
  do: "change",
  changes: [
    { change: "increment", path: "/stock", by },
    { change: "add", path: "/tags", value: tag },
    { change: "insert", path: "/steps", values: [tag] },
  ],
});

const bodyAt = (node: SimulatedNode, id: string): JsonObject =>
  node.store.engine.documents.shown("items", id).body ?? {};
const marksAt = (
  node: SimulatedNode,
  id: string,
): Record<string, { n: number; saw: Record<string, number> }> =>
  (bodyAt(node, id)["by"] ?? {}) as never;

/** A batch over two documents that says what the writer saw of everybody's last batch. */
function causalPair(node: SimulatedNode): DocumentWrite[] {
  const marks = marksAt(node, "left");
  const saw = Object.fromEntries(Object.entries(marks).map(([name, { n }]) => [name, n]));
  const mark = { n: (saw[node.name] ?? 0) + 1, saw: { ...saw, [node.name]: saw[node.name] ?? 0 } };
  return ["left", "right"].map((id) => ({
    collection: "items",
    id,
    do: "change",
    changes: [{ change: "set", path: `/by/${node.name}`, value: mark }],
  }));
}

function checkCauses(node: SimulatedNode): void {
  if (!node.up) return;
  const marks = marksAt(node, "left");
  assert.equal(stable(marksAt(node, "right")), stable(marks), `${node.name} shows half a batch`);
  for (const [name, { saw }] of Object.entries(marks)) {
    for (const [other, n] of Object.entries(saw))
      assert.ok(
        (marks[other]?.n ?? 0) >= n,
        `${node.name} shows ${name}'s mark without its cause by ${other}`,
      );
  }
}

function isSettled({ nodes }: SimulatedCell): boolean {
  const vectors = new Set(nodes.map(({ store }) => stable(store.engine.vector())));
  return vectors.size === 1 && nodes.every(({ store }) => store.engine.waiting === 0);
}

/** All equal, to each other, to the model, and to themselves made again from the log. */
function checkStores({ nodes }: SimulatedCell): void {
  const shownAt = (node: SimulatedNode, id: string) => {
    const { documents } = node.store.engine;
    const { body, conflicts } = documents.shown("items", id);
    const version = documents.version("items", id);
    return { text: stable({ body, version, conflicts }), body, conflicts };
  };
  const [first] = nodes;
  assert.ok(first);
  const ids = [...names, "tally", "left", "right"];
  for (const id of ids) {
    const expected = modelOf(historyOf(first, id));
    const shown = shownAt(first, id);
    assert.equal(stable(shown.body), stable(expected.body), `${id} differs from the model`);
    assert.deepEqual(
      shown.conflicts.map(({ path }) => path).sort(),
      [...expected.conflicts].sort(),
      `${id}'s conflicts differ`,
    );
    for (const node of nodes) {
      assert.equal(shownAt(node, id).text, shown.text, `${id} at ${node.name} differs`);
      const row = node.tables.documents.get(`items/${id}`);
      const state = row && node.store.engine.documents.read(row);
      if (state)
        assert.equal(
          stable(show(state)),
          stable({ body: shown.body, conflicts: shown.conflicts }),
          `${id}'s row differs`,
        );
    }
  }
  const before = ids.map((id) => shownAt(first, id).text);
  first.store.engine.rebuild();
  assert.deepEqual(
    ids.map((id) => shownAt(first, id).text),
    before,
    "made again from the log it differs",
  );
}

function historyOf(node: SimulatedNode, id: string): Made[] {
  const history: Made[] = [];
  for (const [origin, log] of node.tables.logs()) {
    const known = new Map<string, number>();
    for (const { sequence, text } of log) {
      const { hlc, seen, writes } = readOperation(text);
      for (const [other, upto] of Object.entries(seen)) known.set(other, upto);
      const mine = writes.filter((write) => write.id === id);
      const verb = mine.at(-1)?.verb;
      // Deleted and written in one batch: what came last holds; the changes before count all the same.
      if (!verb) continue;
      history.push({
        origin,
        sequence,
        hlc,
        known: new Map(known),
        verb,
        changes: mine.flatMap(({ changes }) => changes),
      });
    }
  }
  return history;
}

function checkAcknowledged(
  { nodes }: SimulatedCell,
  acknowledged: readonly Acknowledged[],
  tally: Tally,
): void {
  for (const node of nodes) {
    const logs = node.tables.logs();
    for (const { origin, sequence, text } of acknowledged)
      assert.equal(
        logs.get(origin)?.[sequence - 1]?.text,
        text,
        `${node.name} lost an acknowledged write`,
      );
    const { stock = 0, tags = [], steps = [] } = bodyAt(node, "tally");
    assert.ok(
      (stock as number) >= tally.acked && (stock as number) <= tally.acked + tally.unknown,
      `acknowledged were ${tally.acked}, there are ${String(stock)}`,
    );
    for (const list of [tags, steps]) {
      assert.ok(Array.isArray(list) && !isObject(list));
      const lacking = tally.ackedTags.filter((tag) => !list.includes(tag));
      assert.deepEqual(lacking, [], "acknowledged, and gone");
      assert.equal(new Set(list).size, list.length, "acknowledged once, there twice");
    }
  }
}
