/**
 * Fulfils wishes about the servers, on every server, one at a time in the whole cell: whoever wins the
 * election `servers` goes on with the oldest, wherever its predecessor stopped.
 */
import type { Clock, Timer } from "../../lib/clock.ts";
import { explain } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Ledger } from "../ledger.ts";
import type { Progress, ServersBook, StoredWish } from "./book.ts";
import { runChange, type ServersPort } from "./run.ts";

export interface Performer {
  /** There is a new wish. */
  kick(): void;
  stop(): Promise<void>;
}

const lookEveryMs = 3000;
const retryMs = 300;
const leadershipTtlMs = 10_000;
const linesMax = 200;

export function startPerformer(deps: {
  clock: Clock;
  log: Log;
  ledger: Pick<Ledger, "campaign">;
  book: ServersBook;
  port: ServersPort;
  /** This node's name. */
  self: string;
}): Performer {
  const { clock, ledger, book } = deps;
  const log = deps.log.child({ room: "ledger" });
  const stopping = new AbortController();
  let timer: Timer | undefined;
  let wake: (() => void) | undefined;

  const pause = (forMs: number) =>
    new Promise<void>((resolve) => {
      wake = () => {
        timer?.cancel();
        resolve();
      };
      timer = clock.after(forMs, wake);
      if (stopping.signal.aborted) wake();
    });

  const fulfil = async () => {
    if ((await book.wishes()).length === 0) return;
    const campaign = await ledger.campaign("servers", {
      id: deps.self,
      ttlMs: leadershipTtlMs,
      signal: stopping.signal,
    });
    const signal = AbortSignal.any([campaign.lost, stopping.signal]);
    try {
      // Asked again: another server may have fulfilled it meanwhile.
      for (const wish of await book.wishes()) await perform(wish, signal);
    } finally {
      if (!campaign.lost.aborted)
        await campaign.resign().catch((error: unknown) => log.debug("not resigned", { error }));
    }
  };

  const perform = async (wish: StoredWish, signal: AbortSignal) => {
    const { change } = wish;
    const before = await book.progress(change.node);
    const lines = [...(before?.lines ?? [])];
    const told = createTeller(log, (progress) => book.tell(change.node, progress));
    const outcome = await runChange({ clock, log }, deps.port, change, {
      signal,
      tell(line) {
        log.info("servers", { change, line });
        if (lines.length < linesMax) lines.push(line);
        told.tell({ change, lines: [...lines] });
      },
    });
    await told.last();
    await book.tell(change.node, { change, lines, outcome });
    await book.settle(wish);
    log.info("servers", { change, outcome: outcome.state, message: outcome.message });
  };

  const running = (async () => {
    while (!stopping.signal.aborted) {
      let pauseMs = lookEveryMs;
      try {
        await fulfil();
      } catch (error) {
        // The election ends when the ledger changes its engine: the wish goes on in the new one at once.
        pauseMs = retryMs;
        if (!stopping.signal.aborted)
          log.debug("wishes about servers wait", { because: explain(error) });
      }
      await pause(pauseMs);
    }
  })();

  return {
    kick: () => wake?.(),
    async stop() {
      stopping.abort();
      wake?.();
      await running;
    },
  };
}

/** One write at a time, the newest only: a line is told while the ledger itself moves, and must not wait for it. */
function createTeller(log: Log, write: (progress: Progress) => Promise<void>) {
  let waiting: Progress | undefined;
  let writing: Promise<void> | undefined;
  const flush = async () => {
    while (waiting) {
      const now = waiting;
      waiting = undefined;
      await write(now).catch((error: unknown) => log.debug("progress not told", { error }));
    }
    writing = undefined;
  };
  return {
    tell(progress: Progress) {
      waiting = progress;
      writing ??= flush();
    },
    async last() {
      await writing;
    },
  };
}
