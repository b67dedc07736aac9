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

  /** One generator for all of it: a layer more would cost every revision some turns. */
  async function* follow(
    prefix: string,
    from: { history: History; seen: number; after: Revision | undefined },
    caller: AbortSignal | undefined,
  ): AsyncGenerator<WatchBatch> {
    if (caller?.aborted) return;
    core.assertOpen();
    const { history, after } = from;
    let seen = after === undefined ? from.seen : await startOf(after, history);
    let isNow = after === undefined;
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
          const assembler = createAssembler(history);
          for await (const response of stream.messages) {
            if (end.signal.aborted) break;
            const { compactRevision } = response;
            if (response.canceled && compactRevision > 0) {
              const first = (compactRevision + history.base) as Revision;
              if (!isNow) throw compacted((seen + history.base) as Revision, first);
              // "From now" was long ago for this client only: nothing of what is forgotten is asked for.
              seen = compactRevision;
              isBroken = false;
              break;
            }
            for (const batch of assembler.take(response, seen)) {
              seen = batch.revision - history.base;
              isNow = false;
              backoff.reset();
              yield batch;
              if (end.signal.aborted) break;
            }
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

  /** Throws `compacted`, `future-revision`. */
  const startOf = async (after: Revision, history: History): Promise<number> => {
    const seen = toEtcd(history, after);
    if (seen === undefined) throw compacted(after, history.first);
    if (seen > core.seen()) await contractErrors(core.verify());
    if (!Number.isSafeInteger(after) || seen > core.seen())
      throw futureRevision(after, (core.seen() + history.base) as Revision);
    return seen;
  };

  return (prefix, { after, signal } = {}) => {
    checkPrefix(prefix);
    // Read at the call: what is written after it is delivered, however late the first pull is.
    return follow(prefix, { history: core.history(), seen: core.seen(), after }, signal);
  };
}

const isRetryable = (error: unknown) =>
  error instanceof Error && "retryable" in error && error.retryable === true;

/**
 * Whole revisions out of what one stream brings, in order. A revision of which the last part may not have
 * come yet is held back.
 */
function createAssembler(history: History): {
  /** Those after `seen`, and bookmarks. Throws `ledger-unavailable` when the member ends the watch. */
  take(response: Response, seen: number): WatchBatch[];
} {
  let held: wire.WireEvent[] = [];
  return {
    take(response, seen) {
      if (response.canceled)
        throw unavailable(`the member cancelled the watch: ${response.cancelReason}`);
      if (response.created) return [];
      if (response.events.length === 0) {
        const revision = response.header?.revision ?? 0;
        return revision > seen ? [bookmarkAt(history, revision)] : [];
      }
      const whole: WatchBatch[] = [];
      const close = () => {
        const [first] = held;
        if (first && revisionOf(first) > seen) whole.push(batchOf(history, held));
        held = [];
      };
      for (const event of response.events) {
        const [first] = held;
        if (first && revisionOf(first) !== revisionOf(event)) close();
        held.push(event);
      }
      if (!response.fragment) close();
      return whole;
    },
  };
}

const bookmarkAt = (history: History, revision: number): WatchBatch => ({
  revision: (revision + history.base) as Revision,
  events: [],
});

const revisionOf = (event: wire.WireEvent) => event.keyValue?.modRevision ?? 0;

function batchOf(history: History, events: readonly wire.WireEvent[]): WatchBatch {
  const [first] = events;
  const delivered: LedgerEvent[] = [];
  for (const event of events) {
    const one = eventOf(history, event);
    if (one) delivered.push(one);
  }
  return {
    revision: ((first ? revisionOf(first) : 0) + history.base) as Revision,
    events: delivered,
  };
}

function eventOf(
  history: History,
  { type, keyValue, previous: before }: wire.WireEvent,
): LedgerEvent | undefined {
  if (!keyValue) return undefined;
  if (type !== wire.eventPut) {
    const key = asText(keyValue.key);
    return before
      ? { type: "delete", key, previous: keyValueOf(history, before) }
      : { type: "delete", key };
  }
  const now = keyValueOf(history, keyValue);
  return before
    ? { type: "put", keyValue: now, previous: keyValueOf(history, before) }
    : { type: "put", keyValue: now };
}
