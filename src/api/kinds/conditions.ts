/** Conditions: what is true of an object, since when, and why. */
import * as z from "zod";
import { count, listByKey, time } from "../schema/builders.ts";

export const conditionSchema = z.strictObject({
  type: z.string(),
  status: z.enum(["True", "False", "Unknown"]),
  reason: z.string().optional(),
  message: z.string().optional(),
  lastTransitionTime: time.optional(),
  lastUpdateTime: time.optional(),
  lastProbeTime: time.optional(),
  lastHeartbeatTime: time.optional(),
  observedGeneration: count.optional(),
});
export type Condition = z.infer<typeof conditionSchema>;
export const conditionsSchema = listByKey(conditionSchema, ["type"]);

export function conditionIsTrue(
  conditions: readonly Condition[] | undefined,
  type: string,
): boolean {
  return conditions?.some((entry) => entry.type === type && entry.status === "True") ?? false;
}

/**
 * The conditions with `next` among them: `lastTransitionTime` moves only when the status does.
 */
export function withCondition(
  conditions: readonly Condition[] | undefined,
  next: Condition & { lastTransitionTime: string },
): Condition[] {
  const all = [...(conditions ?? [])];
  const index = all.findIndex((entry) => entry.type === next.type);
  const current = all[index];
  if (!current) return [...all, next];
  all[index] = {
    ...next,
    lastTransitionTime:
      current.status === next.status
        ? (current.lastTransitionTime ?? next.lastTransitionTime)
        : next.lastTransitionTime,
  };
  return all;
}
