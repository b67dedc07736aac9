/**
 * Consumer groups: several programs share a stream, each batch goes to one of them, and comes again
 * when it is not acknowledged in time. At least once; exactly once in effect where a batch's results
 * are handed over with its acknowledgement, or stored beside the position of its entries.
 */
import { deadline, type Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { bodyOf, type Call } from "./caller.ts";
import { patiently } from "./patiently.ts";
import type { Entry } from "./streams-entry.ts";

/** Where a new group begins, or goes on from. */
export type GroupStart =
  | { readonly from: "oldest" | "newest" }
  /** Milliseconds since 1970. */
  | { readonly fromMs: number }
  | { readonly after: string };

export type GroupStatus = {
  readonly stream: string;
  readonly group: string;
  /** Everything up to this cursor is acknowledged; not of a group of the cell. */
  readonly position?: string;
  /** Entries behind it; not of a group of the cell. */
  readonly lag?: number;
  readonly underWay: number;
  readonly members: readonly string[];
  /** Of a group of the cell: the node that delivers now. */
  readonly holder?: string | null;
  /** Of a group of the cell: up to where everything is acknowledged, by the log's origin. */
  readonly positions?: Readonly<Record<string, number>>;
};

/** An entry to be stored with an acknowledgement, in one transaction. */
export type GroupResult = {
  readonly stream: string;
  readonly atMs?: number;
  readonly key?: { readonly producer: string; readonly epoch: number; readonly sequence: number };
  readonly body: Readonly<Record<string, unknown>>;
};

export type GroupEntry = Entry & { readonly cursor: string; readonly position: number };

export type GroupBatch = {
  readonly entries: readonly GroupEntry[];
  /** 1, and one more each time it was not acknowledged before its deadline. */
  readonly attempt: number;
  /**
   * Durable when it resolves, with the results. `done-before`: another member was faster, or this is
   * the answer to a repeated call; the results of one of them are stored, once. Tries on while the
   * node is away. Throws `delivery-overtaken` and `delivery-unknown` (nothing was stored, the entries
   * come again), of a group of the cell `fenced` (another node has it, and what was not acknowledged), and `not-answering`: then it may have been stored or not, and comes again if not.
   */
  ack(results?: readonly GroupResult[]): Promise<"acknowledged" | "done-before">;
  /** More time; false when the deadline is over and somebody else may have it. */
  extend(ackMs: number): Promise<boolean>;
  /** Gives it back at once. */
  release(): Promise<boolean>;
};

export type BatchOptions = {
  /** Entries in a batch. Default 100. */
  readonly limit?: number;
  /** Until a batch that was not acknowledged goes to somebody else. Default 30,000. */
  readonly ackMs?: number;
  readonly signal?: AbortSignal;
};

export interface ConsumerGroup {
  /**
   * One batch after the other; the next is fetched when the loop comes back for it. A node that is
   * away is waited for. Ends with the signal; a batch that the loop left is delivered again.
   */
  batches(options?: BatchOptions): AsyncIterable<GroupBatch>;
  status(): Promise<GroupStatus>;
  /** Replay, or skip; batches that were taken before count for nothing any more. */
  seek(start: GroupStart): Promise<GroupStatus>;
  remove(): Promise<void>;
}

export type GroupOptions = {
  /** Of a group that is not there yet. Default: the oldest entry. */
  readonly start?: GroupStart;
  /** This program's name in the group's status. */
  readonly member?: string;
  /**
   * `node` (default): the group lives on the node that is asked. `cell`: it is one group for the cell,
   * one node at a time delivers, and another takes over; results do not go with its acknowledgements.
   */
  readonly scope?: "node" | "cell";
};

const waitMs = 20_000;
/** For the answer itself, beyond what the request may wait for entries. */
const answerMs = 30_000;
/** How long an acknowledgement is tried at least, while the node is away. */
const ackForMsMin = 30_000;

export function createGroup(
  { call, clock }: { call: Call; clock: Clock },
  { stream, name }: { stream: string; name: string },
  options: GroupOptions = {},
): ConsumerGroup {
  const folder = options.scope === "cell" ? "cell-groups" : "groups";
  const root = `/v1/streams/${encodeURIComponent(stream)}/${folder}/${encodeURIComponent(name)}`;

  const ask = async <T>(path: string, init: RequestInit, signal?: AbortSignal): Promise<T> => {
    const limit = deadline(clock, waitMs + answerMs, {
      ...(signal ? { parent: signal } : {}),
      reason: () =>
        new SkerryError({
          code: "not-answering",
          message: `no answer from ${path} within ${waitMs + answerMs} ms`,
          hint: "is the agent running there?",
          retryable: true,
        }),
    });
    try {
      const answer = await call(`${root}${path}`, { ...init, signal: limit.signal });
      return answer.status === 204 ? (undefined as T) : await bodyOf<T>(answer, limit.signal);
    } finally {
      limit.done();
    }
  };
  const send = <T>(method: string, path: string, body?: object, signal?: AbortSignal) =>
    ask<T>(
      path,
      body === undefined
        ? { method }
        : {
            method,
            headers: { "content-type": "application/json" },
            body: JSON.stringify(body),
          },
      signal,
    );
  type Taken = {
    delivery?: string;
    attempt?: number;
    ackMs?: number;
    entries: readonly GroupEntry[];
  };
  const batchOf = (
    delivery: string,
    { entries, attempt = 1, ackMs = ackForMsMin }: Taken,
  ): GroupBatch => ({
    entries,
    attempt,
    async ack(results = []) {
      const body = { delivery, ...(results.length > 0 ? { results } : {}) };
      const { state } = await patiently(
        clock,
        () => send<{ state: "acknowledged" | "done-before" }>("POST", "/ack", body),
        { forMs: Math.max(ackMs, ackForMsMin) },
      );
      return state;
    },
    extend: async (ackMs) =>
      (await send<{ held: boolean }>("POST", "/extend", { delivery, ackMs })).held,
    release: async () => (await send<{ held: boolean }>("POST", "/release", { delivery })).held,
  });

  return {
    async *batches({ signal, ...batch } = {}) {
      const request = {
        waitMs,
        ...batch,
        ...(options.member === undefined ? {} : { member: options.member }),
      };
      const whole = signal ? { signal } : {};
      try {
        await patiently(
          clock,
          () => send("PUT", "", options.start ?? { from: "oldest" }, signal),
          whole,
        );
        for (;;) {
          signal?.throwIfAborted();
          const taken = await patiently(
            clock,
            () => send<Taken>("POST", "/take", request, signal),
            whole,
          );
          if (taken.delivery !== undefined) yield batchOf(taken.delivery, taken);
        }
      } catch (error) {
        if (!signal?.aborted) throw error;
      }
    },
    status: () => send("GET", ""),
    seek: (start) => send("POST", "/seek", start),
    remove: () => send("DELETE", ""),
  };
}
