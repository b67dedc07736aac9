/**
 * Keeps a node's certificates young: new leaves from half of their life on, new trust (the hub's
 * certificate, a second anchor) soon after a server has it. Days without any server stop nothing:
 * the old leaf goes on, and an expired one renews by its key, as does one from the future (its issuer's
 * clock was ahead); that is tried often, since nobody takes such a leaf.
 */
import type { Clock, Timer } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import { trustRequest, type NodeIdentity } from "./node-identity.ts";

export type RenewalDeps = {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly nowMs: () => number;
  readonly identity: NodeIdentity;
  /** One request to any server's enrolment, over a channel pinned to `identity.pins`. */
  readonly exchange: (request: Uint8Array) => Promise<Uint8Array>;
  /** Told the server's time with each renewal. */
  readonly onServerTime?: (nowMs: number) => void;
};

export interface Renewal {
  /**
   * Asks now, whatever is due; with `addresses` for a serving leaf under these from now on. Throws what
   * the exchange throws.
   */
  renew(options?: { addresses?: readonly string[] }): Promise<void>;
  /** Looks for new trust now. True when there was some. */
  refreshTrust(): Promise<boolean>;
  stop(): void;
}

/** Between looks while the leaf does not hold. */
const urgentMs = 10_000;

/** Between looks, less up to a half, so that nodes do not ask together. Default 10 min. */
export function startRenewal(deps: RenewalDeps, options: { checkMs?: number } = {}): Renewal {
  const { clock, identity, log } = deps;
  const checkMs = options.checkMs ?? 600_000;
  let timer: Timer | undefined;
  let isStopped = false;
  let loggedAtMs = Number.NEGATIVE_INFINITY;

  const holds = () => deps.nowMs() >= identity.validFromMs && deps.nowMs() <= identity.validUntilMs;

  const renew: Renewal["renew"] = async (options) => {
    const prepared = await identity.prepareRenewal(options);
    const { nowMs } = prepared.accept(await deps.exchange(prepared.request));
    deps.onServerTime?.(nowMs);
    log.info("certificates renewed", {
      id: identity.subject.id,
      until: new Date(identity.validUntilMs).toISOString(),
    });
  };
  const refreshTrust = async () => identity.acceptTrust(await deps.exchange(trustRequest()));

  const check = async () => {
    try {
      if (deps.nowMs() >= identity.renewAtMs || !holds()) await renew();
      else if (await refreshTrust()) log.info("trust refreshed", { id: identity.subject.id });
    } catch (error) {
      if (clock.monotonicMs() - loggedAtMs < checkMs / 2) return arm();
      loggedAtMs = clock.monotonicMs();
      const leftMs = identity.validUntilMs - deps.nowMs();
      log[leftMs < 0 ? "error" : "warn"]("certificates cannot be renewed now", {
        id: identity.subject.id,
        daysLeft: Math.floor(leftMs / 86_400_000),
        error,
      });
    }
    arm();
  };
  const arm = () => {
    const nextMs = holds() ? checkMs : Math.min(urgentMs, checkMs);
    if (!isStopped) timer = clock.after(nextMs * (1 - deps.random.float() / 2), () => void check());
  };
  arm();
  return {
    renew,
    refreshTrust,
    stop() {
      isStopped = true;
      timer?.cancel();
    },
  };
}
