/** What a hub process tells about itself in its status, beside its cells. */
import type { FleetStatus } from "../api/index.ts";
import type { KeyFailure } from "../identity/index.ts";
import { encodeError } from "../lib/errors.ts";
import type { Refusal } from "../transport/index.ts";

export function keyFailureOf(
  failure: KeyFailure | undefined,
  nowMs: number,
): Pick<FleetStatus, "keyFailure"> {
  if (!failure) return {};
  const { message: why, hint } = encodeError(failure.error);
  return {
    keyFailure: {
      why,
      ...(hint === undefined ? {} : { hint }),
      forMs: Math.round(nowMs - failure.sinceMs),
    },
  };
}

export function refusedOf(
  refusals: readonly Refusal[],
  nowMs: number,
): Pick<FleetStatus, "refused"> {
  if (refusals.length === 0) return {};
  return {
    refused: refusals.map(({ atMs, ...told }) => ({ ...told, agoMs: Math.round(nowMs - atMs) })),
  };
}
