/** The origins of a store, kept in memory: by name in the log, by a small number in rows. */
import type { Vector } from "../streams/store.ts";
import type { OriginNumbers } from "./encode-state.ts";
import type { DocumentTables, OriginRow } from "./tables.ts";

export interface Origins {
  readonly numbers: OriginNumbers;
  find(name: string): OriginRow | undefined;
  /** Made when it is not there yet. */
  row(name: string): OriginRow;
  rows(): IteratorObject<OriginRow>;
  /** By name, without those at 0. */
  vectorOf(topOf: (row: OriginRow) => number): Vector;
  /** Reads them again. */
  load(): void;
}

export function createOrigins(tables: Pick<DocumentTables, "origins" | "addOrigin">): Origins {
  let byName = new Map<string, OriginRow>();
  let byId = new Map<number, OriginRow>();
  const remember = (row: OriginRow): OriginRow => {
    byName.set(row.name, row);
    byId.set(row.id, row);
    return row;
  };
  const row = (name: string) => byName.get(name) ?? remember(tables.addOrigin(name));
  return {
    numbers: {
      numberOf: (origin) => row(origin).id,
      originOf: (id) => byId.get(id)?.name ?? "",
    },
    find: (name) => byName.get(name),
    row,
    rows: () => byName.values(),
    vectorOf: (topOf) =>
      Object.fromEntries(
        byName.values().flatMap((each) => (topOf(each) > 0 ? [[each.name, topOf(each)]] : [])),
      ),
    load() {
      byName = new Map();
      byId = new Map();
      for (const each of tables.origins()) remember(each);
    },
  };
}
