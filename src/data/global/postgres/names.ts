/**
 * Ids of cells, streams and origins. Only ids that were seen committed are kept, so that a transaction
 * that was rolled back leaves nothing here that does not exist; ids never change.
 */
import type { Session } from "../../../runtime/postgres/index.ts";

export interface Names {
  /** Makes those that are missing, in a transaction of their own. */
  cells(session: Session, names: readonly string[]): Promise<ReadonlyMap<string, number>>;
  /**
   * Streams or origins of cells whose rows this transaction holds locked: makes those that are
   * missing. They are kept only by `keep`, after the commit.
   */
  within(session: Session, table: Table, wanted: readonly Named[]): Promise<Interned>;
}

export type Table = "stream" | "origin";
export type Named = { readonly cell: number; readonly name: string };
export type Interned = {
  id(of: Named): number;
  keep(): void;
};

/** Past this all are looked up anew: a hub whose cells change names without end stays small. */
const keptMax = 200_000;

const keyOf = ({ cell, name }: Named) => `${cell}\n${name}`;

export function createNames(): Names {
  const cells = new Map<string, number>();
  const kept: Record<Table, Map<string, number>> = { stream: new Map(), origin: new Map() };

  return {
    async cells(session, names) {
      const missing = [...new Set(names)].filter((name) => !cells.has(name)).sort();
      if (missing.length > 0) {
        await session.query(
          "INSERT INTO skerry.cell(name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING",
          [missing],
        );
        const rows = await session.query("SELECT id, name FROM skerry.cell WHERE name = ANY($1)", [
          missing,
        ]);
        if (cells.size > keptMax) cells.clear();
        for (const row of rows) cells.set(String(row["name"]), Number(row["id"]));
      }
      return cells;
    },

    async within(session, table, wanted) {
      const known = kept[table];
      const fresh = new Map<string, number>();
      const missing = [...new Map(wanted.map((one) => [keyOf(one), one])).values()].filter(
        (one) => !known.has(keyOf(one)),
      );
      if (missing.length > 0) {
        const values = [missing.map(({ cell }) => cell), missing.map(({ name }) => name)];
        const list = "unnest($1::int[], $2::text[]) AS w(cell, name)";
        await session.query(
          `INSERT INTO skerry.${table}(cell, name) SELECT * FROM ${list} ON CONFLICT DO NOTHING`,
          values,
        );
        const rows = await session.query(
          `SELECT t.id, t.cell, t.name FROM skerry.${table} t JOIN ${list} USING (cell, name)`,
          values,
        );
        for (const row of rows)
          fresh.set(
            keyOf({ cell: Number(row["cell"]), name: String(row["name"]) }),
            Number(row["id"]),
          );
      }
      return {
        id: (one) => fresh.get(keyOf(one)) ?? known.get(keyOf(one)) ?? Number.NaN,
        keep() {
          if (known.size > keptMax) known.clear();
          for (const [key, id] of fresh) known.set(key, id);
        },
      };
    },
  };
}
