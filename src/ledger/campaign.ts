/**
 * Elections over any ledger: everybody who wants `name` puts a key under his own lease, and the
 * oldest key leads (the recipe of etcd's concurrency package). The revision that created the key is
 * the fence: whoever comes next has a later one. Leadership counts as lost when a tenth of the TTL is
 * left, counted from when the last answered renewal was *sent* (the tenth is for clocks that differ
 * and work that winds down), or as soon as the ledger says that the key is gone.
 */
import { deadline, type Clock } from "../lib/clock.ts";
import { createBackoff } from "../lib/backoff.ts";
import { isAbort, SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { checkKey, unavailable } from "./checks.ts";
import type { Campaign, Fence, KeyValue, LeaseId, Ledger } from "./ledger.ts";

/** Keys below this belong to elections. */
export const electionsPrefix = "elections/";

/** The part of a TTL for which leadership is claimed. */
const provable = 0.9;

type CampaignLedger = Pick<
  Ledger,
  "get" | "list" | "transact" | "watch" | "grant" | "renew" | "revoke"
>;
export type CampaignOptions = { id: string; ttlMs: number; signal?: AbortSignal };

/** `Ledger.campaign` for an engine that offers the rest of the contract. */
export function createCampaigns(
  deps: { clock: Clock; random: Random; log: Log },
  ledger: CampaignLedger,
): (name: string, options: CampaignOptions) => Promise<Campaign> {
  return async (name, options) => {
    const prefix = `${electionsPrefix}${name}/`;
    checkKey("name", prefix);
    const backoff = createBackoff(deps, { initialMs: 50, maxMs: 1000 });
    for (;;) {
      options.signal?.throwIfAborted();
      try {
        const candidate = await stand(deps, ledger, prefix, options);
        if (candidate) return candidate;
      } catch (error) {
        options.signal?.throwIfAborted();
        if (!(error instanceof SkerryError && (error.retryable || error.code === "compacted")))
          throw error;
        deps.log.debug("election tried again", { name, error });
      }
      await deps.clock.sleep(backoff.nextMs(), { signal: options.signal });
    }
  };
}

/** One candidacy with one lease; undefined when the lease was lost before it was elected. */
async function stand(
  deps: { clock: Clock; log: Log },
  ledger: CampaignLedger,
  prefix: string,
  options: CampaignOptions,
): Promise<Campaign | undefined> {
  const sentMs = deps.clock.monotonicMs();
  const { lease, ttlMs } = await ledger.grant(options.ttlMs);
  const key = `${prefix}${lease}`;
  const held = keepAlive(deps, ledger, { lease, ttlMs, sentMs, key });
  const give = async () => {
    held.stop();
    await ledger.revoke(lease);
  };
  const onAbort = () => held.stop();
  options.signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const own = await enter(ledger, key, lease, options.id);
    held.entered();
    await waitForTurn(ledger, prefix, own, held.lost);
    options.signal?.throwIfAborted();
    if (held.lost.aborted) return undefined;
    return { fence: own.createRevision as number as Fence, lost: held.lost, resign: give };
  } catch (error) {
    // The lease ends by itself if this fails too; the first error is the one to report.
    await give().catch((later: unknown) =>
      deps.log.debug("lease left to expire", { lease, error: later }),
    );
    if (held.lost.aborted && isAbort(error)) return undefined;
    throw error;
  } finally {
    options.signal?.removeEventListener("abort", onAbort);
  }
}

/** Puts the candidate's key; an unknown outcome is looked up, since only this lease writes the key. */
async function enter(
  ledger: CampaignLedger,
  key: string,
  lease: LeaseId,
  id: string,
): Promise<KeyValue> {
  const value = new TextEncoder().encode(id);
  const outcome = await ledger.transact(
    [{ key, modRevision: 0 }],
    [{ type: "put", key, value, lease }],
  );
  const { keyValue } = await ledger.get(key);
  if (keyValue) return keyValue;
  throw unavailable(
    `the candidate's key ${key} was not written`,
    outcome.state === "unknown" ? outcome.cause : undefined,
  );
}

/** Resolves when `own` is the oldest key, or `lost` is aborted. Each waits for the one before it only. */
async function waitForTurn(
  ledger: CampaignLedger,
  prefix: string,
  own: KeyValue,
  lost: AbortSignal,
): Promise<void> {
  while (!lost.aborted) {
    const { items, revision } = await ledger.list(prefix);
    if (!items.some(({ key }) => key === own.key))
      throw unavailable(`the candidate's key ${own.key} is gone`);
    const [before] = items
      .filter(({ createRevision }) => createRevision < own.createRevision)
      .sort((a, b) => b.createRevision - a.createRevision);
    if (!before) return;
    await deletion(ledger, before.key, revision, lost);
  }
}

async function deletion(
  ledger: CampaignLedger,
  key: string,
  after: KeyValue["modRevision"],
  signal: AbortSignal,
): Promise<void> {
  for await (const { events } of ledger.watch(key, { after, signal })) {
    if (events.some((event) => event.type === "delete" && event.key === key)) return;
  }
}

/** Renews until stopped; `lost` aborts when stopped, or when the lease can no longer be proved. */
function keepAlive(
  deps: { clock: Clock; log: Log },
  ledger: CampaignLedger,
  held: { lease: LeaseId; ttlMs: number; sentMs: number; key: string },
): { lost: AbortSignal; entered: () => void; stop: () => void } {
  const { clock } = deps;
  const lost = new AbortController();
  const lose = (message: string, cause?: unknown) =>
    lost.abort(new SkerryError({ code: "leadership-lost", message, retryable: true, cause }));
  let hasEntered = false;
  let expiresMs = held.sentMs + provable * held.ttlMs;
  let limit = deadline(clock, expiresMs - clock.monotonicMs());
  const onLimit = () => lose(`lease ${held.lease} could not be renewed in time`);
  limit.signal.addEventListener("abort", onLimit);

  const extend = (sentMs: number, ttlMs: number) => {
    limit.done();
    expiresMs = sentMs + provable * ttlMs;
    limit = deadline(clock, expiresMs - clock.monotonicMs());
    limit.signal.addEventListener("abort", onLimit);
  };

  const run = async () => {
    while (!lost.signal.aborted) {
      await clock.sleep(held.ttlMs / 3, { signal: lost.signal });
      // Timers may be late after a suspend: the deadline is judged before anything is sent.
      if (clock.monotonicMs() >= expiresMs) return onLimit();
      const sentMs = clock.monotonicMs();
      try {
        const { ttlMs } = await ledger.renew(held.lease);
        if (hasEntered && !(await ledger.get(held.key)).keyValue)
          return lose(`the key ${held.key} was deleted`);
        if (!lost.signal.aborted) extend(sentMs, ttlMs);
      } catch (error) {
        if (error instanceof SkerryError && error.code === "lease-not-found")
          return lose(`lease ${held.lease} is gone`, error);
        deps.log.warn("lease not renewed; trying again until it runs out", {
          lease: held.lease,
          leftMs: Math.round(expiresMs - clock.monotonicMs()),
          error,
        });
      }
    }
  };
  run()
    .catch((error: unknown) => {
      if (!lost.signal.aborted) lose("the lease is no longer renewed", error);
    })
    .finally(() => limit.done());

  return {
    lost: lost.signal,
    entered: () => {
      hasEntered = true;
    },
    stop: () => lose("resigned"),
  };
}
