/**
 * Puts small segments together in the background: one after another while nobody appends, and one a turn
 * while somebody does. What the sealer seals is full; what arrives in numbers is sealed as it comes.
 */
import { every, type Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Writer } from "../../runtime/sqlite/index.ts";
import type { StreamRow } from "../tables/names.ts";
import type { SealLimits } from "../tables/sealing.ts";
import type { Tables } from "../tables/tables.ts";

const pauseAfterFailureMs = 30_000;

export function startCompactor(
  deps: {
    readonly clock: Clock;
    readonly log: Log;
    readonly writer: Writer;
    readonly tables: Tables;
  },
  /** Undefined: not known yet, or the stream stays rows. */
  limitsOf: (stream: StreamRow) => SealLimits | undefined,
  periodMs: number,
): { stop(): void } {
  const { clock, log, writer, tables } = deps;
  const { names, segments, compaction, entries } = tables;
  /** By stream: where what is sealed ended when nothing was left to do. */
  const settledByStream = new Map<number, number>();
  let lastStream: number | undefined;
  let notBeforeMs = 0;
  const ended = new AbortController();

  const inSteps = async <T>(steps: Generator<void, T>): Promise<T> => {
    let step = steps.next();
    for (; !step.done; step = steps.next()) await clock.sleep(0);
    return step.value;
  };
  /** False: nothing is left to do. */
  const joinNext = async (stream: StreamRow, limits: SealLimits): Promise<boolean> => {
    const group = await inSteps(compaction.finding(stream, limits));
    const joined = group && (await inSteps(compaction.joining(group)));
    if (joined) await writer.write(() => compaction.join(joined));
    return group !== undefined;
  };

  /** Behind the one whose turn it was: while appends come none waits for all before it. */
  const inTurn = (streams: readonly StreamRow[]) => {
    const next = streams.findIndex(({ id }) => id === lastStream) + 1;
    return [...streams.slice(next), ...streams.slice(0, next)];
  };

  const turn = async () => {
    if (clock.monotonicMs() < notBeforeMs) return;
    for (const stream of inTurn(names.streams())) {
      const end = segments.toId(stream);
      if (end === settledByStream.get(stream.id)) continue;
      const limits = limitsOf(stream);
      if (!limits) continue;
      while (!ended.signal.aborted) {
        const { nextId } = entries;
        if (!(await joinNext(stream, limits))) {
          settledByStream.set(stream.id, end);
          break;
        }
        lastStream = stream.id;
        if (entries.nextId !== nextId) return;
      }
    }
  };

  const turns = every(clock, periodMs, turn, (error) => {
    if (ended.signal.aborted) return;
    notBeforeMs = clock.monotonicMs() + pauseAfterFailureMs;
    log.error("small segments were not put together; it is tried again", { error });
  });
  return {
    stop() {
      ended.abort();
      turns.cancel();
    },
  };
}
