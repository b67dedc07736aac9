/** Entries into a stream, a batch at a time: stored as one, or refused as one. */
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { bodyOf, searchOf, type Call } from "./caller.ts";
import { lineBody } from "./request-body.ts";
import { untilKnown } from "./writing.ts";

export type AppendOptions = {
  /** `memory`, `local`, `peer(1)`, … or `hub`; the stream's own when absent. */
  readonly durability?: string | undefined;
  readonly timeoutMs?: number | undefined;
  /** Of the first entry; the sequence grows by one with each. Makes a resend harmless. */
  readonly key?: { readonly producer: string; readonly epoch: number; readonly sequence: number };
  readonly signal?: AbortSignal | undefined;
};

export type AppendResult = {
  /** The level that was seen to hold. */
  readonly reached: string;
  /**
   * Present when time ran out before this level was reached; the entries are stored at `reached`. At
   * `memory` they are with the store, which has not said what becomes of them; those with keys are
   * sent again instead.
   */
  readonly asked?: string;
  readonly stored: number;
  readonly duplicates: number;
  /** Of the duplicates, those that the node's retention removed since; `reached` is then `local` at most. */
  readonly removed?: number;
};

/** `isKeyed`: each line has a key of its own, or `key` gives them. */
export async function appendLines(
  { call, clock }: { call: Call; clock: Clock },
  stream: string,
  lines: readonly string[],
  {
    durability,
    timeoutMs,
    key,
    signal,
    isKeyed = key !== undefined,
  }: AppendOptions & { readonly isKeyed?: boolean },
): Promise<AppendResult> {
  const search = searchOf({ durability, timeoutMs });
  const path = `/v1/streams/${encodeURIComponent(stream)}/entries?${search}`;
  const request = {
    method: "POST",
    headers: {
      "content-type": "application/x-ndjson",
      ...(key && {
        "skerry-producer": key.producer,
        "skerry-epoch": String(key.epoch),
        "skerry-sequence": String(key.sequence),
      }),
    },
    body: lineBody(lines),
  };
  return await untilKnown(
    clock,
    async (_isRepeated, limit) => {
      const answer = await call(path, { ...request, signal: limit });
      const result = await bodyOf<AppendResult>(answer, limit);
      if (isKeyed && result.asked !== undefined && result.reached === "memory")
        throw notStoredYet(stream, result.asked);
      return result;
    },
    { isKeyed, timeoutMs, signal },
  );
}

const notStoredYet = (stream: string, asked: string) =>
  new SkerryError({
    code: "outcome-unknown",
    message: `the node's store did not say in time what became of the entries for ${stream}; ${asked} is asked for`,
    hint: "send the same again: the entries have keys, and each is stored once",
    retryable: true,
  });
