/** The way to the hub for people: whether it stands, else what was last seen on it. Pure. */
import type { HubStatus } from "../api/index.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Finding } from "./doctor.ts";

/** As it stands in a node's report. */
export function hubFailure(failure: Error | undefined): Pick<HubStatus, "failure"> {
  if (!failure) return {};
  const { message } = failure;
  if (!(failure instanceof SkerryError)) return { failure: { code: "internal", message } };
  const { code, hint } = failure;
  return { failure: { code, message, ...(hint === undefined ? {} : { hint }) } };
}

export function hubFindings({ state, address, failure }: HubStatus): Finding[] {
  if (failure)
    return [
      {
        check: "hub",
        state: "limited",
        found: failure.message,
        meaning: `no link to the hub${address === undefined ? "" : ` at ${address}`}: what goes there waits here`,
        ...(failure.hint === undefined ? {} : { mend: failure.hint }),
      },
    ];
  if (state === "none" || address === undefined) return [];
  return [
    {
      check: "hub",
      state: "ok",
      found: `${state === "connected" ? "linked" : "silent"}, ${address}`,
    },
  ];
}
