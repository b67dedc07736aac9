/**
 * Watches, one stream each: what a slow watcher does not ask for stays with the server and holds up
 * nobody. A stream that breaks is opened again, at another member, at the last whole revision that
 * was delivered: never at a header's, which runs ahead of the events. It starts one earlier than
 * needed, so that a member that compacted just there says so instead of leaving deletions out.
 */
import { createBackoff } from "../../lib/backoff.ts";
import { checkPrefix, compacted, futureRevision, unavailable } from "../checks.ts";
import type { Ledger, LedgerEvent, Revision, WatchBatch } from "../ledger.ts";
import type { EtcdStream } from "./client/connection.ts";
import * as wire from "./client/messages.ts";
import { EtcdFailure } from "./client/outcome.ts";
import type { InputOf, OutputOf } from "./client/wire.ts";
import { contractErrors, type Core } from "./core.ts";
import { asText, keyValueOf, toEtcd, type History } from "./history.ts";
import { rangeOf } from "./reads.ts";

type Response = OutputOf<typeof wire.watchResponse>;
type Stream = EtcdStream<InputOf<typeof wire.watchRequest>, Response>;

const openTimeoutMs = 2_000;

export function createWatches(core: Core): Ledger["watch"] {
  const { client, deps } = core;

  /** Aborted when the watch has to end: by its caller, by a rewritten history, or by closing. */
  const endOf = (signal: AbortSignal | undefined) => {
    const end = new AbortController();
    const onCaller = () => end.abort();
    const onClose = () => end.abort(core.closed.reason);
    signal?.addEventListener("abort", onCaller, { once: true });
    core.closed.addEventListener("abort", onClose, { once: true });
    const off = core.onRewritten(() => end.abort(compacted(0 as Revision, core.history().first)));
    if (core.closed.aborted) onClose();
    if (signal?.aborted) onCaller();
    return {
      signal: end.signal,
      done() {
        signal?.removeEventListener("abort", onCaller);
        core.closed.removeEventListener("abort", onClose);
        off();
      },
    };
  };

  const open = async (
    prefix: string,
    startRevision: number,
    signal: AbortSignal,
  ): Promise<Stream> => {
    const stream = await client.stream(wire.watch, { timeoutMs: openTimeoutMs, signal });
    stream.send({
      create: {
        ...rangeOf(prefix),
        startRevision,
        progressNotify: true,
        previous: true,
        fragment: true,
      },
    });
    return stream;
  };

  async function* follow(
    prefix: string,
    from: { history: History; seen: number; isNow: boolean },
    caller: AbortSignal | undefined,
  ): AsyncGenerator<WatchBatch> {
    const { history } = from;
    let { seen, isNow } = from;
    const backoff = createBackoff(deps, { initialMs: 50, maxMs: 1_000 });
    const end = endOf(caller);
    try {
      for (let opened = 0; !end.signal.aborted; opened++) {
        let stream: Stream | undefined;
        let isBroken = true;
        const cancel = () => stream?.cancel();
        try {
          if (opened > 0) await core.verify();
          if (end.signal.aborted) break;
          stream = await open(prefix, Math.max(1, seen), end.signal);
          end.signal.addEventListener("abort", cancel, { once: true });
          for await (const batch of wholeRevisions(stream, history, () => seen)) {
            if (end.signal.aborted) break;
            if ("compactRevision" in batch) {
              const first = (batch.compactRevision + history.base) as Revision;
              if (!isNow) throw compacted((seen + history.base) as Revision, first);
              // "From now" was long ago for this client only: nothing of what is forgotten is asked for.
              seen = batch.compactRevision;
              isBroken = false;
              break;
            }
            seen = Math.max(seen, batch.revision - history.base);
            isNow = false;
            backoff.reset();
            yield batch;
            if (end.signal.aborted) break;
          }
        } catch (error) {
          if (end.signal.aborted) break;
          if (!(error instanceof EtcdFailure) && !isRetryable(error)) throw error;
          deps.log.debug("a watch goes on at another member", { prefix, error });
        } finally {
          end.signal.removeEventListener("abort", cancel);
          stream?.cancel();
        }
        if (end.signal.aborted) break;
        if (stream && isBroken) client.failed(stream.member);
        await deps.clock.sleep(backoff.nextMs(), { signal: end.signal }).catch(() => {});
      }
      if (!caller?.aborted) throw end.signal.reason;
    } finally {
      end.done();
    }
  }

  return (prefix, { after, signal } = {}) => {
    checkPrefix(prefix);
    // Read at the call: what is written after it is delivered, however late the first pull is.
    const history = core.history();
    const seenNow = core.seen();
    async function* start() {
      if (signal?.aborted) return;
      core.assertOpen();
      if (after === undefined) {
        yield* follow(prefix, { history, seen: seenNow, isNow: true }, signal);
        return;
      }
      const seen = toEtcd(history, after);
      if (seen === undefined) throw compacted(after, history.first);
      if (seen > core.seen()) await contractErrors(core.verify());
      if (!Number.isSafeInteger(after) || seen > core.seen())
        throw futureRevision(after, (core.seen() + history.base) as Revision);
      yield* follow(prefix, { history, seen, isNow: false }, signal);
    }
    return start();
  };
}

const isRetryable = (error: unknown) =>
  error instanceof Error && "retryable" in error && error.retryable === true;

/** Revisions after `seen`, whole and in order; bookmarks; or that history was compacted. */
async function* wholeRevisions(
  stream: Stream,
  history: History,
  seen: () => number,
): AsyncGenerator<WatchBatch | { compactRevision: number }> {
  /** The revision whose last part may not have come yet. */
  let held: wire.WireEvent[] = [];
  for await (const response of stream.messages) {
    if (response.canceled) {
      if (response.compactRevision > 0) {
        yield { compactRevision: response.compactRevision };
        return;
      }
      throw unavailable(`the member cancelled the watch: ${response.cancelReason}`);
    }
    if (response.created) continue;
    if (response.events.length === 0) {
      const revision = response.header?.revision ?? 0;
      if (revision > seen()) yield { revision: (revision + history.base) as Revision, events: [] };
      continue;
    }
    for (const event of response.events) {
      const revision = revisionOf(event);
      const [first] = held;
      if (first && revisionOf(first) !== revision) {
        if (revisionOf(first) > seen()) yield batchOf(history, held);
        held = [];
      }
      held.push(event);
    }
    if (response.fragment) continue;
    const [last] = held;
    if (last && revisionOf(last) > seen()) yield batchOf(history, held);
    held = [];
  }
}

const revisionOf = (event: wire.WireEvent) => event.keyValue?.modRevision ?? 0;

function batchOf(history: History, events: readonly wire.WireEvent[]): WatchBatch {
  const [first] = events;
  return {
    revision: ((first ? revisionOf(first) : 0) + history.base) as Revision,
    events: events.flatMap((event) => eventOf(history, event)),
  };
}

function eventOf(history: History, event: wire.WireEvent): LedgerEvent[] {
  const { keyValue, previous } = event;
  if (!keyValue) return [];
  const before = previous ? { previous: keyValueOf(history, previous) } : {};
  return event.type === wire.eventPut
    ? [{ type: "put", keyValue: keyValueOf(history, keyValue), ...before }]
    : [{ type: "delete", key: asText(keyValue.key), ...before }];
}
