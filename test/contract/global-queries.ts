/** Queries over the hub's documents of all cells, the same on every store of them. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { openGlobalQueries } from "../../src/data/global/queries.ts";
import type { JsonObject } from "../../src/data/documents/json.ts";
import type { DocumentWrite } from "../../src/data/index.ts";
import { checkQuery } from "../../src/data/queries/check.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { range } from "../support/data.ts";
import { sendAll, type globalDocuments } from "../support/documents-global.ts";
import { put, write } from "../support/documents.ts";
import { waitFor } from "../support/wait.ts";

type Row = { cell?: string; id: string; body: { n: number; tag: string; secret?: string } };
type Group = { group: Record<string, unknown>; values: Record<string, number> };

export function globalQueries({ name, withParts }: (typeof globalDocuments)[number]): void {
  test(
    `Q2, P6 ${name}: what cells let out is filtered, sorted, paged and measured across cells, and by cell`,
    withParts(async ({ hub, nodes, files }) => {
      const counts = { a: 300, b: 40 };
      const all: Row[] = [];
      for (const [at, cell] of (["a", "b"] as const).entries()) {
        const node = nodes[at];
        assert.ok(node);
        const bodies = range(1, counts[cell]).map((n) => ({
          n: (n * 7) % 100,
          tag: `t${n % 3}`,
          secret: "s",
        }));
        await write(node, ...bodies.map((body, index) => put(`d${index}`, body)));
        await sendAll(node, hub, { items: { keep: ["n", "tag"] } }, cell);
        for (const [index, { n, tag }] of bodies.entries())
          all.push({ cell, id: `d${index}`, body: { n, tag } });
      }
      await hub.publish({ name: "prices" });
      await hub.write([{ collection: "prices", id: "p", do: "put", body: { n: 1 } }]);
      const engine = openGlobalQueries({ clock: systemClock }, { global: await files() });
      const ask = async (
        request: Record<string, unknown>,
        where: { cell?: string; collection?: string } = {},
      ) => {
        const { collection = "items", ...of } = where;
        const page = await engine.documents({
          collection,
          ...of,
          query: checkQuery({ timeoutMs: 30_000, ...request } as never),
        });
        return { ...page, rows: page.rows.map((row): unknown => JSON.parse(row)) };
      };
      const pages = async (request: Record<string, unknown>, of: { cell?: string } = {}) => {
        const rows: Row[] = [];
        for (let cursor: string | undefined; ;) {
          const page = await ask({ ...request, ...(cursor ? { cursor } : {}) }, of);
          rows.push(...(page.rows as Row[]));
          cursor = page.cursor;
          if (cursor === undefined) return rows;
        }
      };
      const text = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
      const ordered = all.toSorted((a, b) => text(a.cell ?? "", b.cell ?? "") || text(a.id, b.id));

      try {
        assert.deepEqual(await pages({ limit: 37 }), ordered);
        assert.deepEqual(
          await pages({ limit: 1000 }, { cell: "b" }),
          ordered.filter(({ cell }) => cell === "b"),
        );
        const where = 'n > 20 and tag in ("t1", "t2") and "/@cell" != "c"';
        const holds = ({ body }: Row) => body.n > 20 && body.tag !== "t0";
        assert.deepEqual(
          await pages({ where, sort: ["-n"], limit: 11 }),
          ordered
            .filter(holds)
            .toSorted(
              (a, b) => b.body.n - a.body.n || text(b.cell ?? "", a.cell ?? "") || text(b.id, a.id),
            ),
        );
        assert.deepEqual(await pages({ where: 'id = "d7"', fields: ["tag"] }), [
          { cell: "a", id: "d7", body: { tag: "t2" } },
          { cell: "b", id: "d7", body: { tag: "t2" } },
        ]);
        assert.deepEqual(
          (await pages({ sort: ["-id"], limit: 3 })).slice(0, 2).map(({ cell, id }) => [cell, id]),
          [
            ["a", "d99"],
            ["a", "d98"],
          ],
        );
        const { rows: groups } = await ask({ by: ["/@cell"], aggregate: ["count", "sum(n)"] });
        assert.deepEqual(
          (groups as Group[]).map(({ group, values }) => [group["/@cell"], values["count"]]),
          [
            ["a", 300],
            ["b", 40],
          ],
        );
        // What did not leave cannot be asked for.
        assert.deepEqual((await ask({ where: "secret exists" })).rows, []);
        assert.deepEqual((await ask({}, { collection: "prices" })).rows, [
          { id: "p", body: { n: 1 } },
        ]);
        await assert.rejects(ask({}, { collection: "orders" }), { code: "collection-unknown" });
        const { cursor } = await ask({ limit: 1 });
        await assert.rejects(ask({ limit: 1, cursor }, { cell: "a" }), { code: "invalid-cursor" });
      } finally {
        await engine.close();
      }
    }),
  );
  test(
    `Q1, Q2 ${name}: along indexes of cells the answers are those of looking at all documents, and less is looked at`,
    withParts(async ({ hub, nodes, files }) => {
      const [node] = nodes;
      const random = seededRandom(11);
      const pick = <T>(list: readonly T[]): T => list[random.integer(list.length)] as T;
      const cells = ["a", "b", "c"];
      const ids = range(0, 120).map((n) => `d${n}`);
      const bodyOf = (): JsonObject => ({
        ...pick<JsonObject>([
          { n: random.integer(40) },
          { n: random.integer(40) - 20.5 },
          { n: pick(["1", "x", ""]) },
          { n: null },
          { n: random.float() < 0.5 },
          { n: [random.integer(5), "x"] },
          { n: { deep: random.integer(3) } },
          {},
        ]),
        tag: pick(["red", "green", "grey", "red"]),
        marks: range(0, random.integer(3)).map(() => pick(["x", "y", 1, null])),
        "@cell": pick(["a", "z"]),
      });
      const both = { items: { drop: [] }, notes: { drop: [] } };
      const changeAndSend = async (cell: string, share: number) => {
        for (const id of ids) {
          if (random.float() >= share) continue;
          const isRemoved = random.float() < 0.1;
          const body = bodyOf();
          await write(
            node,
            ...["items", "notes"].map((collection): DocumentWrite =>
              isRemoved ? { collection, id, do: "delete" } : put(id, body, collection),
            ),
          );
        }
        await sendAll(node, hub, both, cell);
      };
      const paths = ["/n", "/tag", "/marks", "/@cell"];
      // Of one cell before it sent anything, of the others while they have documents already.
      await hub.index("a", { items: paths });
      for (const cell of cells) await changeAndSend(cell, 0.8);
      for (const cell of ["b", "c"]) await hub.index(cell, { items: paths });
      const engine = openGlobalQueries({ clock: systemClock }, { global: await files() });
      const ask = async (collection: string, request: object, cell?: string) =>
        await engine.documents({
          collection,
          ...(cell === undefined ? {} : { cell }),
          query: checkQuery({ timeoutMs: 30_000, ...request } as never),
        });
      const explained = async (request: object, collection = "items") =>
        (await ask(collection, { ...request, explain: true })).explain;
      const indexed = async () => (await explained({ sort: ["n"], limit: 1 }))?.indexes;
      const untilWhole = () =>
        waitFor(async () => (await indexed())?.length === 1, { what: "the indexes to be whole" });
      const pages = async (collection: string, request: object, cell?: string) => {
        const all: string[][] = [];
        for (let cursor: string | undefined; ;) {
          const page = await ask(collection, { ...request, ...(cursor ? { cursor } : {}) }, cell);
          all.push([...page.rows]);
          cursor = page.cursor;
          if (cursor === undefined) return all;
        }
      };
      const conditions = [
        "n > 5",
        "n >= -3 and n < 11.5",
        "n = 7",
        'n in (1, 2, "x", null, true)',
        'n = "1" or n < 0',
        "n exists",
        "not n exists",
        "n > false",
        "n = null",
        'tag prefix "gr"',
        'tag = "red" and n < 20',
        'tag = "red"',
        'marks contains "x" and tag != "grey"',
        "marks contains null",
        '"/@cell" = "b" and n > 0',
        '"/@cell" = "z"',
        'id > "d5" and tag = "green"',
        'id = "d7"',
      ];
      const sorts = [["n"], ["-n"], ["tag"], ["-tag"], ["-n", "tag"], ["/@cell"], ["-id"], ["id"]];
      try {
        await untilWhole();
        const compare = async (rounds: number) => {
          for (let round = 0; round < rounds; round++) {
            const where = random.float() < 0.8 ? { where: pick(conditions) } : {};
            const sort = random.float() < 0.7 ? { sort: pick(sorts) } : {};
            const limit = pick([3, 17, 100, 1000]);
            const cell = random.float() < 0.3 ? pick(cells) : undefined;
            const request = { ...where, ...sort, limit };
            assert.deepEqual(
              await pages("items", request, cell),
              await pages("notes", request, cell),
              `${cell ?? "all cells"}: ${JSON.stringify(request)}`,
            );
            const measured = { ...where, by: ["tag"], aggregate: ["count", "sum(n)", "max(n)"] };
            assert.deepEqual(
              (await ask("items", measured, cell)).rows,
              (await ask("notes", measured, cell)).rows,
            );
          }
        };
        await compare(60);
        // What comes, changes and goes afterwards is in them as well.
        for (const cell of cells) await changeAndSend(cell, 0.4);
        await compare(60);

        const all = 3 * ids.length;
        const few = await explained({ sort: ["-n"], limit: 5 });
        assert.ok(few && few.looked <= 10, `${few?.looked} of ${all} looked at for 5 in order`);
        const equal = await explained({ where: 'tag prefix "gr" and n = 7', limit: 100 });
        assert.ok(
          equal && equal.looked <= 30,
          `${equal?.looked} of ${all} looked at for one value`,
        );
        const scanned = await explained({ sort: ["-n"], limit: 5 }, "notes");
        assert.deepEqual([scanned?.indexes, (scanned?.looked ?? 0) > 200], [[], true]);

        // Taken back in one cell, an index is none across cells; in the others it stays.
        await hub.index("b", { items: ["/tag"] });
        await waitFor(async () => (await indexed())?.length === 0, { what: "it to be gone" });
        const own = await ask("items", { sort: ["n"], limit: 1, explain: true }, "c");
        assert.deepEqual(own.explain?.indexes, ["/n"]);
        await compare(10);
      } finally {
        await engine.close();
      }
    }),
  );

  test(
    `Q1 ${name}: a collection that is written at the hub alone has the indexes that it was published with`,
    withParts(async ({ hub, files, reopen }) => {
      await hub.publish({ name: "prices", indexes: ["/n"] });
      await hub.write(range(1, 50).map((n) => put(`d${n}`, { n, m: n % 5 }, "prices")));
      const engine = openGlobalQueries({ clock: systemClock }, { global: await files() });
      try {
        const ask = async (where: string) =>
          await engine.documents({
            collection: "prices",
            query: checkQuery({ where, explain: true, timeoutMs: 30_000 } as never),
          });
        const looked = (where: string, count: number) =>
          waitFor(async () => (await ask(where)).explain?.looked === count, { what: "the index" });
        await looked("n = 7", 1);
        assert.deepEqual((await ask("n = 7")).rows, ['{"id":"d7","body":{"m":2,"n":7}}']);
        assert.equal((await ask("m = 2")).explain?.looked, 50);
        await hub.publish({ name: "prices", cells: ["a"] });
        assert.deepEqual(await hub.publications(), [
          { name: "prices", cells: ["a"], indexes: ["/n"] },
        ]);
        await hub.publish({ name: "prices", indexes: ["/m"] });
        await looked("m = 2", 10);
        const again = await reopen();
        assert.deepEqual(await again.publications(), [{ name: "prices", indexes: ["/m"] }]);
        await looked("m = 2", 10);
      } finally {
        await engine.close();
      }
    }),
  );

  test(
    `Q1 ${name}: the hub's own document of a collection that cells write too has their indexes`,
    withParts(async ({ hub, nodes, files }) => {
      const [node] = nodes;
      await hub.publish({ name: "items", fromCells: { fields: [] } });
      await write(node, ...range(1, 50).map((n) => put(`d${n}`, { n })));
      await sendAll(node, hub, { items: { drop: [] } });
      await hub.index("a", { items: ["/n"] });
      const engine = openGlobalQueries({ clock: systemClock }, { global: await files() });
      try {
        const ask = async () =>
          await engine.documents({
            collection: "items",
            query: checkQuery({ where: "n = 7", explain: true, timeoutMs: 30_000 } as never),
          });
        await waitFor(async () => (await ask()).explain?.looked === 1, { what: "the index" });
        assert.deepEqual((await ask()).rows, ['{"id":"d7","body":{"n":7}}']);
      } finally {
        await engine.close();
      }
    }),
  );
}
