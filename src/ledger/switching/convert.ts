/**
 * From one engine to another while the cell goes on: everything that holds now is copied into an
 * empty ledger whose revisions begin where the old one's end, compared byte for byte, and then made
 * the truth by one durable write (`commit`). Before that write a crash leaves the old engine as it
 * was, after it the new one; never both. History is not copied: what was watched is listed again.
 */
import { createHash, type Hash } from "node:crypto";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { electionsPrefix } from "../campaign.ts";
import { operationsMax, transactionBytesMax } from "../checks.ts";
import type { Epoch, KeyValue, LeaseId, Ledger, Operation, Revision } from "../ledger.ts";
import type { SwitchingLedger } from "./switching.ts";

export type ConvertDeps = { readonly clock: Clock; readonly log: Log };

export type ConvertOptions = {
  /** Opens the new engine, empty, so that each of its revisions is above `base`. */
  readonly openTarget: (from: { base: Revision; epoch: Epoch }) => Promise<Ledger>;
  /** Makes the new engine the truth, durably. Nothing of the conversion can fail after it. */
  readonly commit: (from: { base: Revision; epoch: Epoch }) => void;
  /** Told between the steps; a test ends the process there. */
  readonly onStep?: (step: ConversionStep) => void | Promise<void>;
  /** Writes wait for this long at most. Default 20 s. */
  readonly holdMsMax?: number;
};

export type ConversionStep = "held" | "opened" | "copied" | "compared" | "committed";

export type Conversion = {
  readonly keys: number;
  readonly bytes: number;
  readonly leases: number;
  /** How long writes waited. */
  readonly heldMs: number;
};

/** Kept by the engines for themselves, and by elections, whose leaders stand again. */
const ownPrefixes = ["meta/", electionsPrefix];
const isCopied = ({ key }: KeyValue) => !ownPrefixes.some((prefix) => key.startsWith(prefix));
const pageKeys = 500;

/**
 * Throws what an engine throws, `conversion-differs`, and `ledger-unavailable` when it took too long:
 * the old engine goes on then. An error of `commit` closes `switching` for good: the next start reads
 * from the disk what holds.
 */
export async function convertLedger(
  deps: ConvertDeps,
  switching: SwitchingLedger,
  options: ConvertOptions,
): Promise<Conversion> {
  const { clock } = deps;
  const step = async (name: ConversionStep) => await options.onStep?.(name);
  const startedMs = clock.monotonicMs();
  let committing = false;
  let told: Omit<Conversion, "heldMs"> | undefined;
  await switching.switchOver(
    async (from, { signal }) => {
      await step("held");
      const { revision: base } = await from.status();
      const history = { base, epoch: from.epoch };
      const target = await options.openTarget(history);
      try {
        await step("opened");
        const copied = await copy(from, target, signal);
        await step("copied");
        await compare(copied.digest, target, signal);
        // Whoever knows a revision of the old engine, its last one included, lists again.
        await target.compact(copied.revision);
        await step("compared");
        signal.throwIfAborted();
        committing = true;
        options.commit(history);
        await step("committed");
        told = { keys: copied.keys, bytes: copied.bytes, leases: copied.leases.size };
        return { ledger: target, leases: copied.leases };
      } catch (error) {
        await target.close().catch((later: unknown) => {
          deps.log.warn("the engine that was not moved to did not close", { error: later });
        });
        throw error;
      }
    },
    { holdMsMax: options.holdMsMax ?? 20_000, isFatal: () => committing },
  );
  if (!told) throw new SkerryError({ code: "internal", message: "moved, but nothing was copied" });
  return { ...told, heldMs: Math.round(clock.monotonicMs() - startedMs) };
}

async function copy(
  from: Ledger,
  target: Ledger,
  signal: AbortSignal,
): Promise<{
  keys: number;
  bytes: number;
  revision: Revision;
  leases: ReadonlyMap<LeaseId, LeaseId>;
  /** Of what was written, in its order. */
  digest: string;
}> {
  const hash = createHash("sha256");
  const leases = new Map<LeaseId, LeaseId>();
  let revision = 0 as Revision;
  let keys = 0;
  let bytes = 0;
  let waiting: Operation[] = [];
  let waitingBytes = 0;
  const flush = async () => {
    if (waiting.length === 0) return;
    const outcome = await target.transact([], waiting, { signal });
    if (outcome.state !== "done") throw notWritten(outcome);
    revision = outcome.revision;
    waiting = [];
    waitingBytes = 0;
  };
  for await (const keyValue of allOf(from, signal)) {
    const { key, value, lease } = keyValue;
    const size = key.length + value.byteLength;
    if (waiting.length === operationsMax || waitingBytes + size > transactionBytesMax)
      await flush();
    const now = lease === undefined ? undefined : await grantAnew(from, target, leases, lease);
    // It ran out in this moment: its keys go with it.
    if (lease !== undefined && now === undefined) continue;
    addTo(hash, key, value, now);
    waiting.push({ type: "put", key, value, ...(now === undefined ? {} : { lease: now }) });
    waitingBytes += size;
    keys++;
    bytes += size;
  }
  await flush();
  if (revision === 0) {
    // An empty cell: there is nothing that could be listed from an older revision either.
    revision = (await target.status()).revision;
  }
  return { keys, bytes, revision, leases, digest: hash.digest("hex") };
}

/** The same time to live, counted from now: a lease lives at least as long as was promised. */
async function grantAnew(
  from: Ledger,
  target: Ledger,
  leases: Map<LeaseId, LeaseId>,
  lease: LeaseId,
): Promise<LeaseId | undefined> {
  const known = leases.get(lease);
  if (known !== undefined) return known;
  try {
    const { ttlMs } = await from.renew(lease);
    const granted = await target.grant(ttlMs);
    leases.set(lease, granted.lease);
    return granted.lease;
  } catch (error) {
    if (error instanceof SkerryError && error.code === "lease-not-found") return undefined;
    throw error;
  }
}

/**
 * The new engine holds what was read from the old one. (A lease that runs out meanwhile on the old one
 * has been granted anew, and its keys with it.)
 */
async function compare(wanted: string, target: Ledger, signal: AbortSignal): Promise<void> {
  const hash = createHash("sha256");
  for await (const { key, value, lease } of allOf(target, signal)) addTo(hash, key, value, lease);
  if (hash.digest("hex") === wanted) return;
  throw new SkerryError({
    code: "conversion-differs",
    message: "the copy of the ledger is not what was copied; nothing was changed",
    hint: "try again; if it repeats, look at this machine's disk and memory: the old ledger goes on",
    retryable: true,
  });
}

function addTo(hash: Hash, key: string, value: Uint8Array, lease: LeaseId | undefined): void {
  hash.update(`${key} ${value.byteLength} ${lease ?? ""}\n`);
  hash.update(value);
}

/** Current values in the order of their keys. Writes are held, so no page needs a revision. */
async function* allOf(ledger: Ledger, signal: AbortSignal): AsyncGenerator<KeyValue, undefined> {
  let after: string | undefined;
  for (;;) {
    const page = await ledger.list("", {
      limit: pageKeys,
      signal,
      ...(after === undefined ? {} : { after }),
    });
    yield* page.items.filter(isCopied);
    after = page.items.at(-1)?.key;
    if (!page.more) return undefined;
  }
}

function notWritten(outcome: { state: "refused" } | { state: "unknown"; cause: Error }): Error {
  return new SkerryError({
    code: "ledger-unavailable",
    message: "the new engine did not take a part of the ledger",
    retryable: true,
    cause: outcome.state === "unknown" ? outcome.cause : undefined,
  });
}
