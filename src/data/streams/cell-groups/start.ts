/** Where a group of the cell begins, as positions in logs: a cursor would be good on one node only. */
import { SkerryError } from "../../../lib/errors.ts";
import type { Vector } from "../answers.ts";
import { pageLimitMax } from "../cursor.ts";
import type { GroupStart } from "../groups/groups.ts";
import type { StreamStore } from "../store.ts";
import { joined } from "./record.ts";

/** Throws `stream-unknown`, and `invalid-request` for a cursor. */
export async function beginningOf(
  store: Pick<StreamStore, "read" | "vector">,
  { stream }: { stream: string },
  start: GroupStart,
): Promise<Vector> {
  if ("after" in start)
    throw new SkerryError({
      code: "invalid-request",
      message: "after: a cursor is good on one node, and this group is of the cell",
      hint: "begin at oldest, newest, or a time",
    });
  const first = await store.read({ stream, limit: 1 });
  if ("from" in start) return start.from === "oldest" ? {} : await store.vector();
  // All that this store took in before the first entry measured at or after that time.
  let vector: Vector = {};
  for (let page = first; ;) {
    const at = page.entries.findIndex(({ atMs }) => atMs >= start.fromMs);
    vector = joined(vector, at < 0 ? page.entries : page.entries.slice(0, at));
    if (at >= 0 || !page.more) return vector;
    page = await store.read({ stream, after: page.cursor, limit: pageLimitMax });
  }
}
