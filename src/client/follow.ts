/**
 * Entries as a node or hub writes them, a JSON object a line, and what comes, over any number of
 * connections: each goes on behind the last line that was taken, so none is passed over or told twice.
 */
import { createBackoff } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { ambientRandom } from "./ambient.ts";
import { linesOf, searchOf, type Call } from "./caller.ts";
import { listening } from "./listening.ts";
import { pauseMsAfter } from "./patiently.ts";
import type { Entry } from "./streams-entry.ts";

export type FollowedLine = {
  /** As it is stored. */
  readonly text: string;
  readonly entry: Entry & { readonly cursor: string };
};

export type FollowOptions = {
  /** Begin with so many of the newest, 1 to 10000: those of them that are of the range. */
  readonly newest?: number;
  /** Or behind this cursor. Default: with the oldest. */
  readonly after?: string | undefined;
  /** `from`, `to`, `cell`. */
  readonly range?: Parameters<typeof searchOf>[0];
  readonly signal?: AbortSignal | undefined;
  /**
   * Nobody answers any more, or none did from the start (`wasUp` false); told once until somebody
   * answers again. Who takes a connection and says nothing on it may only have nothing to tell: an
   * earlier version says nothing before the first entry. It is tried on, unless this throws.
   */
  readonly onLost?: (error: unknown, wasUp: boolean) => void;
};

/** Until the signal aborts. Throws what the other side refuses for good. */
export async function* followLines(
  { call, clock }: { call: Call; clock: Clock },
  path: string,
  { newest, after, range, signal, onLost }: FollowOptions,
): AsyncGenerator<FollowedLine> {
  const backoff = createBackoff({ random: ambientRandom }, { initialMs: 200, maxMs: 5000 });
  let cursor = after;
  // Asked for by itself: whether all of it came is known by its end only.
  let isBeginning = newest !== undefined;
  let state: "new" | "up" | "lost" = "new";
  for (;;) {
    if (signal?.aborted) return;
    const ear = listening(clock, signal);
    let lost: unknown;
    try {
      const ask = (asked: Parameters<typeof searchOf>[0]) =>
        call(`${path}?${searchOf({ ...range, ...asked })}`, { signal: ear.signal });
      let looked: Page | undefined;
      if (isBeginning) {
        // A page says where it ends, with nothing in it as well; lines are as they are stored.
        looked = await pageOf(await ask({ newest, limit: 1, format: "json" }), ear.heard);
        state = "up";
        isBeginning = looked.entries.length > 0;
        if (!isBeginning) ({ cursor } = looked);
      }
      const answer = await ask(isBeginning ? { newest } : { after: cursor, follow: 1 });
      state = "up";
      for await (const text of linesOf(answer, ear.heard)) {
        if (text === "") continue;
        const entry = JSON.parse(text) as FollowedLine["entry"];
        ear.pause();
        backoff.reset();
        ({ cursor } = entry);
        yield { text, entry };
        if (signal?.aborted) return;
        ear.heard();
      }
      if (isBeginning) {
        isBeginning = false;
        // What was found may have ceased to be of the newest.
        cursor ??= looked?.cursor;
        continue;
      }
      lost = new SkerryError({
        code: "not-answering",
        message: "the other side ended the connection",
        retryable: true,
      });
    } catch (error) {
      if (signal?.aborted) return;
      if (error instanceof SkerryError && !error.retryable) throw error;
      isBeginning &&= cursor === undefined;
      // Who calls has other words for it.
      lost = ear.signal.aborted ? ear.signal.reason : error;
    } finally {
      ear.done();
    }
    const isQuiet = ear.signal.aborted && !isBeginning;
    if (state !== "lost") onLost?.(lost, state === "up" || isQuiet);
    state = "lost";
    await clock.sleep(pauseMsAfter(lost, backoff), signal ? { signal } : {}).catch(() => undefined);
  }
}

type Page = { readonly entries: readonly unknown[]; readonly cursor: string };

async function pageOf(answer: Response, onHeard: () => void): Promise<Page> {
  let text = "";
  for await (const line of linesOf(answer, onHeard)) text += line;
  return JSON.parse(text) as Page;
}
