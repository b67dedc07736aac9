/**
 * What the hub answers to a heartbeat: the ages (ms) at which it heard the cell's other nodes. For
 * rule E it is the path that does not share the broken wire, so what cannot be read says nothing.
 */
import { SkerryError } from "../lib/errors.ts";

export type HubHeard = Readonly<Record<string, number>>;

export const encodeHubHeard = (heard: HubHeard): Uint8Array =>
  new TextEncoder().encode(JSON.stringify(heard));

/** Throws `invalid-report` naming the field. */
export function decodeHubHeard(answer: Uint8Array): HubHeard {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(answer));
  } catch (cause) {
    throw new SkerryError({
      code: "invalid-report",
      message: "the hub's answer to a heartbeat is not JSON",
      hint: "hub and cell run versions that do not know each other; bring both to the same",
      cause,
    });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalid("answer", value);
  for (const [node, ageMs] of Object.entries(value))
    if (!Number.isFinite(ageMs) || ageMs < 0) throw invalid(node, ageMs);
  return value as HubHeard;
}

const invalid = (field: string, value: unknown) =>
  new SkerryError({
    code: "invalid-report",
    message: `${field}: ${JSON.stringify(value)} in the hub's answer to a heartbeat is no age in ms`,
  });
