/** What of consumer groups is durable: which ids are done, and how often a group was moved. */
import type { Database } from "../../../runtime/sqlite/index.ts";
import type { Block } from "./blocks.ts";
import type { GroupId } from "./groups.ts";

export type GroupRow = {
  /** Another one after every `seek`: what was delivered before counts for nothing after it. */
  readonly generation: number;
  /** Ascending; the first begins at 0, and its end is the group's position. */
  readonly done: readonly Block[];
};

export interface GroupTable {
  find(id: GroupId): GroupRow | undefined;
  list(stream: string): readonly { readonly id: GroupId; readonly row: GroupRow }[];
  readonly count: number;
  /** Inside a transaction. */
  write(id: GroupId, row: GroupRow): void;
  /** Inside a transaction. */
  remove(id: GroupId): void;
  /** After a rollback. */
  forget(): void;
}

export const groupKey = ({ stream, group }: GroupId) => `${stream}\n${group}`;

export function createGroupTable(db: Database): GroupTable {
  const upsert = db.prepare("INSERT OR REPLACE INTO consumer VALUES (?, ?, ?, ?)");
  const remove = db.prepare("DELETE FROM consumer WHERE stream = ? AND name = ?");
  const rows = new Map<string, { id: GroupId; row: GroupRow }>();
  const load = () => {
    rows.clear();
    for (const row of db.prepare("SELECT * FROM consumer ORDER BY stream, name").all()) {
      const id = { stream: String(row["stream"]), group: String(row["name"]) };
      const done = JSON.parse(String(row["done"])) as Block[];
      rows.set(groupKey(id), { id, row: { generation: Number(row["generation"]), done } });
    }
  };
  load();
  return {
    find: (id) => rows.get(groupKey(id))?.row,
    list: (stream) => [...rows.values()].filter(({ id }) => id.stream === stream),
    get count() {
      return rows.size;
    },
    write(id, row) {
      upsert.run(id.stream, id.group, row.generation, JSON.stringify(row.done));
      rows.set(groupKey(id), { id, row });
    },
    remove(id) {
      remove.run(id.stream, id.group);
      rows.delete(groupKey(id));
    },
    forget: load,
  };
}
