/**
 * The two ways in which a bench offers entries: a closed loop with a fixed number in flight, for what
 * can be sustained, and an open loop at a fixed rate, for how long an entry waits. In the open loop
 * each entry's clock runs from when it was due, not from when it was sent, so that a stall counts for
 * everything that should have been sent meanwhile ("coordinated omission", Tene 2013).
 */
import { percentile } from "../../src/lib/percentile.ts";

/** A way of having entries acknowledged. Entries are numbered by the caller, from 0. */
export type Sender = {
  /** The fewest entries worth handing over at once: a request's. */
  readonly groupEntries: number;
  send(first: number, count: number): void;
  close(): Promise<void>;
};

export type SenderEvents = {
  /** Entries `first` to `first + count - 1` were acknowledged. */
  acked(first: number, count: number): void;
  /** Nothing more comes: a connection went, or an entry was refused. */
  failed(error: Error): void;
};

export type OpenSender = (events: SenderEvents) => Promise<Sender>;

const drainMs = 30_000;
const warmMs = 500;

/** What to do before the next step: wait so many milliseconds, or until something is acknowledged. */
type Step = number | "acknowledged" | "stop";

type Run = {
  readonly sender: Sender;
  /** Entries sent and not acknowledged. */
  outstanding(): number;
  sent(): number;
  send(count: number): void;
  /** Runs `step` until it says to stop, then waits for what is outstanding. */
  drive(step: () => Step): Promise<void>;
};

async function withSender<T>(
  open: OpenSender,
  onAcked: (first: number, count: number) => void,
  body: (run: Run) => Promise<T>,
): Promise<T> {
  let [sent, acked] = [0, 0];
  const failure = Promise.withResolvers<never>();
  // Looked at by `drive` only.
  failure.promise.catch(() => {});
  let wake: (() => void) | undefined;
  const sender = await open({
    acked(first, count) {
      acked += count;
      onAcked(first, count);
      wake?.();
    },
    failed: failure.reject,
  });
  const pause = (ms: number) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        wake = undefined;
        clearTimeout(timer);
        // All that the same read acknowledged is counted before more is sent.
        setImmediate(resolve);
      };
    });
  const run: Run = {
    sender,
    outstanding: () => sent - acked,
    sent: () => sent,
    send(count) {
      const first = sent;
      sent += count;
      sender.send(first, count);
    },
    async drive(step) {
      const loop = async () => {
        for (let next = step(); next !== "stop"; next = step()) {
          if (next === "acknowledged" && sent > acked) await pause(1000);
          else if (next === "acknowledged") await new Promise((resolve) => setImmediate(resolve));
          else await new Promise((resolve) => setTimeout(resolve, next));
        }
        const untilMs = performance.now() + drainMs;
        while (run.outstanding() > 0) {
          if (performance.now() > untilMs)
            throw new Error(`${run.outstanding()} of ${sent} entries were not acknowledged`);
          await pause(100);
        }
      };
      await Promise.race([loop(), failure.promise]);
    },
  };
  try {
    return await body(run);
  } finally {
    await sender.close();
  }
}

/** Entries a second with `inFlight` entries always on their way, after a short warming up. */
export async function closedLoop(
  open: OpenSender,
  options: { inFlight: number; forMs: number },
): Promise<number> {
  let [counted, countFromMs, endMs] = [0, Number.POSITIVE_INFINITY, 0];
  return await withSender(
    open,
    (_first, count) => {
      const nowMs = performance.now();
      if (nowMs >= countFromMs && nowMs < endMs) counted += count;
    },
    async (run) => {
      countFromMs = performance.now() + warmMs;
      endMs = countFromMs + options.forMs;
      await run.drive(() => {
        if (performance.now() >= endMs) return "stop";
        const { groupEntries } = run.sender;
        const room = options.inFlight - run.outstanding();
        const groups = Math.floor(room / groupEntries);
        if (groups > 0) run.send(groups * groupEntries);
        return "acknowledged";
      });
      return (counted / options.forMs) * 1000;
    },
  );
}

export type Latency = {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
};

/** How long entries wait that come at `perSecond`, whatever happens to those before them. */
export async function openLoop(
  open: OpenSender,
  options: { perSecond: number; forMs: number },
): Promise<Latency> {
  const { perSecond, forMs } = options;
  const tookMs = new Float64Array(Math.floor((perSecond * forMs) / 1000));
  let startMs = 0;
  const dueMs = (index: number) => startMs + (index * 1000) / perSecond;
  await withSender(
    open,
    (first, count) => {
      const nowMs = performance.now();
      for (let index = first; index < first + count; index++) tookMs[index] = nowMs - dueMs(index);
    },
    async (run) => {
      startMs = performance.now();
      await run.drive(() => {
        const elapsedMs = performance.now() - startMs;
        const due = Math.min(tookMs.length, Math.floor((elapsedMs * perSecond) / 1000));
        const { groupEntries } = run.sender;
        const ready = due - run.sent();
        const groups = due === tookMs.length ? ready : ready - (ready % groupEntries);
        if (groups > 0) run.send(groups);
        return run.sent() === tookMs.length ? "stop" : 1;
      });
    },
  );
  const sorted = [...tookMs.sort()];
  const at = (share: number) => percentile(sorted, share) ?? Number.NaN;
  return { p50Ms: at(0.5), p99Ms: at(0.99), maxMs: sorted.at(-1) ?? Number.NaN };
}
