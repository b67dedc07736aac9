/** What the parts of the engine share: the client, the history they speak of, and how far it was seen. */
import { SkerryError } from "../../lib/errors.ts";
import { compacted, futureRevision, leaseNotFound, unavailable } from "../checks.ts";
import type { Revision } from "../ledger.ts";
import type { EtcdClient } from "./client/client.ts";
import type { Header } from "./client/messages.ts";
import { EtcdFailure } from "./client/outcome.ts";
import { readHistory, type History } from "./history.ts";
import { findCompacted } from "./oldest.ts";
import type { EtcdDeps } from "./types.ts";

export interface Core {
  readonly deps: EtcdDeps;
  readonly client: EtcdClient;
  readonly timeoutMs: number;
  history(): History;
  /** etcd's newest revision of which this client knows. */
  seen(): number;
  /** Takes note of it and gives the ledger's revision. */
  note(header: Pick<Header, "revision"> | undefined): Revision;
  /** Reads the history again; its listeners are told when it is another one. Shared by who asks at once. */
  verify(): Promise<History>;
  /** The oldest revision that can be read. */
  oldest(): Promise<Revision>;
  /** `listener` runs when history was rewritten. Returns the function that ends it. */
  onRewritten(listener: () => void): () => void;
  assertOpen(): void;
  readonly closed: AbortSignal;
}

export function createCore(
  deps: EtcdDeps,
  options: { client: EtcdClient; timeoutMs: number; history: History; revision: number },
): Core & { close(): void } {
  const { client, timeoutMs } = options;
  let { history, revision: seen } = options;
  let compactRevision = 0;
  let verifying: Promise<History> | undefined;
  const closed = new AbortController();
  const listeners = new Set<() => void>();

  const verify = async (): Promise<History> => {
    const read = await readHistory(client, timeoutMs);
    if (!read.history) {
      throw unavailable("the members hold another cluster's ledger, or an empty one");
    }
    const { epoch, modRevision } = read.history;
    if (epoch === history.epoch && modRevision === history.modRevision) {
      seen = Math.max(seen, read.revision);
      return history;
    }
    deps.log.warn("the ledger's history was rewritten", {
      epoch,
      before: history.epoch,
      first: read.history.first,
    });
    history = read.history;
    seen = read.revision;
    for (const listener of [...listeners]) listener();
    return history;
  };

  return {
    deps,
    client,
    timeoutMs,
    history: () => history,
    seen: () => seen,
    note(header) {
      const revision = header?.revision ?? 0;
      if (revision > seen) seen = revision;
      return (revision + history.base) as Revision;
    },
    verify() {
      verifying ??= verify().finally(() => {
        verifying = undefined;
      });
      return verifying;
    },
    async oldest() {
      const { base, first, modRevision } = history;
      const atLeast = Math.max(compactRevision, modRevision);
      compactRevision = await findCompacted(deps, client, { atLeast, timeoutMs });
      return Math.max(first, compactRevision + base) as Revision;
    },
    onRewritten(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    assertOpen() {
      if (closed.signal.aborted) throw unavailable("the ledger is closed");
    },
    closed: closed.signal,
    close: () => closed.abort(unavailable("the ledger was closed")),
  };
}

export const isCompacted = (error: unknown): boolean =>
  error instanceof EtcdFailure && error.details.includes("has been compacted");

/** What the caller of a contract's method gets for what etcd said; other errors as they are. */
export function contractError(
  error: unknown,
  about: { asked?: Revision; lease?: string; first?: Revision; revision?: Revision } = {},
): unknown {
  if (!(error instanceof EtcdFailure)) return error;
  const { details } = error;
  if (error.kind !== "refused") return unavailable("no member of the ledger answers", error);
  if (isCompacted(error))
    return compacted(about.asked ?? (0 as Revision), about.first ?? (0 as Revision));
  if (details.includes("future revision"))
    return futureRevision(about.asked ?? (0 as Revision), about.revision ?? (0 as Revision));
  if (details.includes("requested lease not found"))
    return leaseNotFound(about.lease ?? "of the transaction");
  if (details.includes("database space exceeded")) {
    return new SkerryError({
      code: "disk-full",
      message: "the ledger's members are out of space: it takes no writes",
      hint: "free space on the servers' disks, or delete what the cell keeps; writes work again by themselves",
      retryable: true,
      cause: error,
    });
  }
  if (/too large|too many operations|duplicate key/.test(details)) {
    return new SkerryError({
      code: "invalid-transaction",
      message: `the ledger's members refuse the transaction: ${details}`,
      hint: "correct the request; nothing was changed",
      cause: error,
    });
  }
  return unavailable(`the ledger's members refuse: ${details}`, error);
}

export function contractErrors<T>(
  work: Promise<T>,
  about?: Parameters<typeof contractError>[1],
): Promise<T> {
  return work.catch((error: unknown) => {
    throw contractError(error, about);
  });
}
