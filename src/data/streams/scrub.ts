/**
 * Looks for damage before somebody needs what is damaged: reads one segment after another from the
 * disk, at most one a second, so at most about 100 KiB/s, and all of them at most once a day. It begins
 * anywhere: a store that is opened often would else only ever see its beginning. What an earlier
 * version sealed is given a plan on the way, without which it could not be put together again.
 */
import { every, type Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import type { Writer } from "../../runtime/sqlite/index.ts";
import { encodeSegment } from "../batch/segment.ts";
import type { Tables } from "../tables/tables.ts";

export type ScrubOptions = {
  /** Between two segments. Default 1000. */
  readonly periodMs?: number;
  /** Between the beginnings of two passes, at least. Default a day. */
  readonly passMs?: number;
};

export type Scrub = {
  /** Read since the store was opened, and how often all of them were. */
  status(): { readonly segments: number; readonly passes: number };
  stop(): void;
};

const dayMs = 86_400_000;

export function startScrub(
  deps: { clock: Clock; random: Random; log: Log; writer: Writer; tables: Tables },
  { periodMs = 1000, passMs = dayMs }: ScrubOptions = {},
): Scrub {
  const { clock, random, log, writer, tables } = deps;
  const { segments } = tables;
  let [checked, passes] = [0, 0];
  const beginning = () => Math.floor(random.float() * (segments.lastId + 1));
  let begin = beginning();
  let afterId = begin - 1;
  let isBehindEnd = false;
  let passBeganMs = clock.monotonicMs();
  let untilMs = 0;

  const next = (): number | undefined => {
    const id = segments.nextId(afterId);
    if (id !== undefined && !(isBehindEnd && id >= begin)) return id;
    if (isBehindEnd || begin === 0) return undefined;
    isBehindEnd = true;
    afterId = -1;
    return next();
  };
  const endPass = () => {
    passes++;
    untilMs = Math.max(periodMs, passBeganMs + passMs - clock.monotonicMs());
    begin = beginning();
    afterId = begin - 1;
    isBehindEnd = false;
  };
  const planOf = async (id: number) => {
    const places = segments.open(id);
    const { sum } = encodeSegment(places);
    await writer.write(() => segments.writePlan(id, { places, sum }));
  };

  const turn = async () => {
    if (untilMs > 0) {
      untilMs = 0;
      passBeganMs = clock.monotonicMs();
    }
    const id = next();
    if (id === undefined) return endPass();
    afterId = id;
    checked++;
    if (!segments.check(id) && !segments.plan(id)) await planOf(id);
  };
  const turns = every(
    clock,
    () => (untilMs > 0 ? untilMs : (clock.untilNext?.(periodMs) ?? periodMs)),
    turn,
    (error) => log.warn("a segment was not checked; the next one is", { error }),
  );
  return {
    status: () => ({ segments: checked, passes }),
    stop: () => turns.cancel(),
  };
}
