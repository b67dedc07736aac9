/** Queries over the hub's documents of all cells, the same on every store of them. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { openGlobalQueries } from "../../src/data/global/queries.ts";
import { checkQuery } from "../../src/data/queries/check.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { range } from "../support/data.ts";
import { sendAll, type globalDocuments } from "../support/documents-global.ts";
import { put, write } from "../support/documents.ts";

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
}
