/** Live queries: what is told, how it is applied, and how a reader comes back to where it was. */
import type { QueryDifference, QueryRow, RowsRequest } from "../api/records/index.ts";
import { createBackoff } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import { SkerryError, type EncodedError, decodeError } from "../lib/errors.ts";
import { ambientRandom } from "./ambient.ts";
import type { Call } from "./caller.ts";
import { eventsOf } from "./events.ts";
import { listening } from "./listening.ts";
import { pauseMsAfter } from "./patiently.ts";

export type LiveUpdate = {
  /** `reset`: not differences but the whole result; `reason` says why. */
  readonly event: "result" | "changes" | "reset";
  /** All rows as they are now. */
  readonly rows: readonly QueryRow[];
  /** What changed, in order; empty but for `changes`. */
  readonly changes: readonly QueryDifference[];
  readonly reason?: string;
};

export type LiveRequest = RowsRequest & { readonly limit?: number; readonly signal?: AbortSignal };

/** The rows after these differences; the list given stays as it is. */
export function applyDifferences(
  rows: readonly QueryRow[],
  changes: readonly QueryDifference[],
): QueryRow[] {
  const list = [...rows];
  for (const difference of changes) {
    const { change, at } = difference;
    if (change === "removed") list.splice(at, 1);
    else if (change === "added") list.splice(at, 0, difference.row);
    else {
      list.splice(difference.from ?? at, 1);
      list.splice(at, 0, difference.row);
    }
  }
  return list;
}

/** Until the signal aborts. Throws what is refused, and why a live query ended for good. */
export async function* followQuery(
  { call, clock }: { call: Call; clock: Clock },
  path: string,
  { signal, ...request }: LiveRequest,
): AsyncIterable<LiveUpdate> {
  const backoff = createBackoff({ random: ambientRandom }, { initialMs: 200, maxMs: 5000 });
  const body = JSON.stringify({ ...request, live: true });
  let rows: readonly QueryRow[] = [];
  let lastId: string | undefined;
  for (;;) {
    if (signal?.aborted) return;
    const ear = listening(clock, signal);
    let lost: unknown;
    try {
      const answer = await call(path, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          ...(lastId === undefined ? {} : { "last-event-id": lastId }),
        },
        body,
        signal: ear.signal,
      });
      for await (const { id, event, data } of eventsOf(answer, ear.heard)) {
        backoff.reset();
        const told = JSON.parse(data) as Told;
        if (event === "end") throw decodeError(told as EncodedError);
        lastId = id;
        const { changes = [], reason } = told as Changed;
        rows =
          event === "changes" ? applyDifferences(rows, changes) : ((told as Changed).rows ?? rows);
        if (event === "result" || event === "changes" || event === "reset") {
          ear.pause();
          yield { event, rows, changes, ...(reason === undefined ? {} : { reason }) };
          ear.heard();
        }
      }
    } catch (error) {
      if (signal?.aborted) return;
      if (error instanceof SkerryError && !error.retryable) throw error;
      lost = error;
    } finally {
      ear.done();
    }
    await clock.sleep(pauseMsAfter(lost, backoff), signal ? { signal } : {}).catch(() => undefined);
  }
}

type Changed = {
  readonly rows?: readonly QueryRow[];
  readonly changes?: readonly QueryDifference[];
  readonly reason?: string;
};
type Told = Changed | EncodedError;
