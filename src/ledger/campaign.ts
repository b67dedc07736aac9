/**
 * Elections over any ledger: everybody who wants `name` puts a key under his own lease, and the
 * oldest key leads (the recipe of etcd's concurrency package). The revision that created the key is
 * the fence: whoever comes next has a later one. Leadership counts as lost when a tenth of the TTL is
 * left, counted from when the last answered renewal was *sent* (the tenth is for clocks that differ
 * and work that winds down), or as soon as the ledger says that the key is gone.
 *
 * Who waits behind a holder that is presumed dead deletes its key (*usurps* it) and does not wait for
 * its lease. The usurped one may lead on in its own eyes until it hears of that; safe is this only where
 * all writes of a leader depend on its key, which the election's owner says by allowing it.
 */
import { deadline, type Clock, type Timer } from "../lib/clock.ts";
import { createBackoff } from "../lib/backoff.ts";
import { isAbort, SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { checkKey, unavailable } from "./checks.ts";
import type { Campaign, CampaignOptions, Fence, KeyValue, LeaseId, Ledger } from "./ledger.ts";

/** Keys below this belong to elections. */
export const electionsPrefix = "elections/";

/** The part of a TTL for which leadership is claimed. */
const provable = 0.9;

type CampaignLedger = Pick<
  Ledger,
  "get" | "list" | "transact" | "watch" | "grant" | "renew" | "revoke"
>;
type Deps = { clock: Clock; random: Random; log: Log };

/** A holder that comes back is not usurped again for so many TTLs: its lease decides meanwhile. */
const sparedTtls = 6;

/** `Ledger.campaign` for an engine that offers the rest of the contract. */
export function createCampaigns(
  deps: Deps,
  ledger: CampaignLedger,
): (name: string, options: CampaignOptions) => Promise<Campaign> {
  const usurpedMs = new Map<string, number>();
  return async (name, options) => {
    const prefix = `${electionsPrefix}${name}/`;
    checkKey("name", prefix);
    const backoff = createBackoff(deps, { initialMs: 50, maxMs: 1000 });
    for (;;) {
      options.signal?.throwIfAborted();
      try {
        const usurper = createUsurper(deps, ledger, options, usurpedMs);
        const standing = stand(deps, ledger, prefix, options, usurper);
        const candidate = await withdrawn(deps, standing, options.signal);
        if (candidate) return candidate;
      } catch (error) {
        options.signal?.throwIfAborted();
        if (!passes(error)) throw error;
        deps.log.debug("election tried again", { name, error });
      }
      await deps.clock.sleep(backoff.nextMs(), { signal: options.signal });
    }
  };
}

const passes = (error: unknown): boolean =>
  error instanceof SkerryError && (error.retryable || error.code === "compacted");

/** What is given back within this time is there for the next at once; the rest ends with its lease. */
const withdrawalMs = 1000;

/**
 * `work`, but no longer than that once `signal` is aborted: a ledger without a quorum answers after its
 * whole timeout, and who stops would wait for each of its elections. Work goes on and cleans up by itself.
 */
async function withdrawn<T>(
  { clock }: Pick<Deps, "clock">,
  work: Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  if (!signal) return await work;
  const over = Promise.withResolvers<never>();
  let timer: Timer | undefined;
  const onAbort = () => (timer = clock.after(withdrawalMs, () => over.reject(signal.reason)));
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, over.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
    timer?.cancel();
  }
}

/** One candidacy with one lease; undefined when the lease or the key was lost before it was elected. */
async function stand(
  deps: Deps,
  ledger: CampaignLedger,
  prefix: string,
  options: CampaignOptions,
  usurper: Usurper,
): Promise<Campaign | undefined> {
  const sentMs = deps.clock.monotonicMs();
  const { lease, ttlMs } = await ledger.grant(options.ttlMs);
  const key = `${prefix}${lease}`;
  const held = keepAlive(deps, ledger, { lease, ttlMs, sentMs, key });
  const give = async () => {
    held.stop();
    await ledger.revoke(lease);
  };
  const resign = () => withdrawn(deps, give(), options.signal);
  const onAbort = () => held.stop();
  options.signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const own = await enter(ledger, key, lease, options.id);
    held.entered();
    await waitForTurn(deps, ledger, { prefix, own, lost: held.lost, usurper });
    options.signal?.throwIfAborted();
    if (held.lost.aborted) return undefined;
    return { key, fence: own.createRevision as number as Fence, lost: held.lost, resign };
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

type Usurper = {
  may(holder: KeyValue): boolean;
  /** Deletes the holder's key if it is still the one that was seen. */
  remove(holder: KeyValue): Promise<void>;
  onChange(listener: () => void): () => void;
};

function createUsurper(
  { clock, log }: Deps,
  ledger: CampaignLedger,
  { id, ttlMs, presumedDead }: CampaignOptions,
  usurpedMs: Map<string, number>,
): Usurper {
  const holderOf = ({ value }: KeyValue) => new TextDecoder().decode(value);
  const isSpared = (holder: string) =>
    clock.monotonicMs() - (usurpedMs.get(holder) ?? -Infinity) < sparedTtls * ttlMs;
  return {
    may(keyValue) {
      const holder = holderOf(keyValue);
      return presumedDead !== undefined && !isSpared(holder) && presumedDead.is(holder);
    },
    async remove(keyValue) {
      const { key, modRevision } = keyValue;
      const outcome = await ledger.transact([{ key, modRevision }], [{ type: "delete", key }]);
      if (outcome.state === "unknown")
        throw unavailable(`whether the key ${key} was deleted is unknown`, outcome.cause);
      if (outcome.state === "refused") return;
      usurpedMs.set(holderOf(keyValue), clock.monotonicMs());
      log.warn("usurped: the holder is presumed dead", { key, holder: holderOf(keyValue), by: id });
    },
    onChange: (listener) => presumedDead?.onChange(listener) ?? (() => {}),
  };
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

/**
 * Resolves when `own` is the oldest key, or `lost` is aborted. Each waits for the one before it only.
 * Trouble with the ledger is waited out, for as long as the lease can be proved: standing anew would
 * mean a place at the end.
 */
async function waitForTurn(
  deps: Deps,
  ledger: CampaignLedger,
  turn: { prefix: string; own: KeyValue; lost: AbortSignal; usurper: Usurper },
): Promise<void> {
  const { own, lost } = turn;
  const backoff = createBackoff(deps, { initialMs: 20, maxMs: 500 });
  while (!lost.aborted) {
    try {
      const { items, revision } = await ledger.list(turn.prefix, { signal: lost });
      if (!items.some(({ key }) => key === own.key)) break;
      const [before] = items
        .filter(({ createRevision }) => createRevision < own.createRevision)
        .sort((a, b) => b.createRevision - a.createRevision);
      if (!before) return;
      if (turn.usurper.may(before)) await turn.usurper.remove(before);
      else await departure(ledger, before, revision, turn);
      backoff.reset();
    } catch (error) {
      if (lost.aborted || !passes(error)) throw error;
      deps.log.debug("still waiting to be elected", { key: own.key, error });
      await deps.clock.sleep(backoff.nextMs(), { signal: lost });
    }
  }
  if (!lost.aborted) throw unavailable(`the candidate's key ${own.key} is gone`);
}

/** Resolves when `before` is gone, or may be removed, or `lost` is aborted. */
async function departure(
  ledger: CampaignLedger,
  before: KeyValue,
  after: KeyValue["modRevision"],
  { lost, usurper }: { lost: AbortSignal; usurper: Usurper },
): Promise<void> {
  const look = new AbortController();
  const stop = () => look.abort();
  const unsubscribe = usurper.onChange(() => {
    if (usurper.may(before)) stop();
  });
  lost.addEventListener("abort", stop, { once: true });
  try {
    if (!lost.aborted && !usurper.may(before))
      await deletion(ledger, before.key, after, look.signal);
  } finally {
    unsubscribe();
    lost.removeEventListener("abort", stop);
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
  /** Sooner than the next renewal: the key was deleted by an usurper, or with its lease. */
  const guard = async () => {
    while (!lost.signal.aborted) {
      try {
        const { keyValue, revision } = await ledger.get(held.key, { signal: lost.signal });
        if (keyValue) await deletion(ledger, held.key, revision, lost.signal);
        if (!lost.signal.aborted) return lose(`the key ${held.key} was deleted`);
      } catch (error) {
        if (lost.signal.aborted) return;
        deps.log.debug("the own key is not watched for a moment", { key: held.key, error });
        await clock.sleep(held.ttlMs / 3, { signal: lost.signal });
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
      guard().catch((error: unknown) => {
        if (!lost.signal.aborted) deps.log.warn("the own key is watched no more", { error });
      });
    },
    stop: () => lose("resigned"),
  };
}
