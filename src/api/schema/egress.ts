/** The `egress` section of kinds whose data may leave the cell; how fields are named: `records/egress.ts`. */
import * as z from "zod";
import type { EgressPolicy } from "../records/egress.ts";
import { listOf } from "./builders.ts";

export const egressSchema = z
  .strictObject({ keep: listOf(z.string().min(1)), drop: listOf(z.string().min(1)) })
  .partial() satisfies z.ZodType<EgressPolicy>;

/** For a column of a table. */
export function egressText({ keep, drop }: EgressPolicy = {}): string {
  const but = drop?.length ? `all but ${drop.join(",")}` : "";
  // Of `drop: []` everything leaves.
  if (!keep) return drop ? but || "everything" : "nothing";
  return keep.length === 0 ? "nothing" : [keep.join(","), but].filter(Boolean).join(", ");
}
