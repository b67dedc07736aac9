/**
 * Whether the ledger's silence is a lost quorum. It is asked when something failed, once for all who
 * wait, and the answer stands for a moment: what is asked meanwhile is refused at once, since it would
 * wait for nothing, and a write that was never sent has no unknown outcome.
 */
import type { Clock } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";
import type { Ledger, LedgerStatus } from "../../ledger.ts";

export interface QuorumView {
  /** Throws `quorum-lost` while that is known. */
  assertNotLost(): void;
  /** The error, or `quorum-lost` where that is why the ledger did nothing. */
  explain(error: unknown): Promise<unknown>;
  /** An outcome is unknown: quorum may be why. */
  suspect(): void;
}

/** Longer than an engine takes to find out. */
const statusMs = 2500;
const knownMs = 1000;

export function createQuorumView(deps: {
  ledger: Pick<Ledger, "status">;
  clock: Clock;
}): QuorumView {
  const { ledger, clock } = deps;
  let asking: Promise<LedgerStatus["quorum"] | undefined> | undefined;
  let lostUntilMs = -Infinity;

  const look = async () => {
    const { promise: late, resolve } = Promise.withResolvers<undefined>();
    const timer = clock.after(statusMs, () => resolve(undefined));
    const told = ledger.status().then(
      ({ quorum }) => quorum,
      () => undefined,
    );
    const quorum = await Promise.race([told, late]);
    timer.cancel();
    asking = undefined;
    if (quorum === "lost") lostUntilMs = clock.monotonicMs() + knownMs;
    return quorum;
  };
  const ask = () => (asking ??= look());

  return {
    assertNotLost() {
      if (clock.monotonicMs() < lostUntilMs) throw quorumLost();
    },
    async explain(error) {
      if (!(error instanceof SkerryError && error.code === "ledger-unavailable")) return error;
      return (await ask()) === "lost" ? quorumLost(error) : error;
    },
    suspect: () => void ask(),
  };
}

const quorumLost = (cause?: unknown) =>
  new SkerryError({
    code: "quorum-lost",
    message: "most servers of the cell cannot be reached, so that nothing can be agreed on",
    hint: "this call changed nothing; try again when a majority of the servers is back",
    retryable: true,
    cause,
  });
