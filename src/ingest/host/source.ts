/**
 * The host's telemetry as a stream: one entry a second by default, keyed so that a batch that is
 * sent again is stored once. A reading that the store does not take waits, the oldest is forgotten
 * first: telemetry is the first thing a starved node sheds.
 */
import type { DurabilityLevel, EntryInput } from "../../api/index.ts";
import { every, type Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { readRecord, writeRecord } from "../../runtime/files/index.ts";
import type { HostReader, HostSample } from "../../runtime/host/index.ts";
import type { Metrics } from "../../runtime/metrics/index.ts";
import type { DeadLetters } from "../dead-letters.ts";
import type { Append } from "../ports.ts";
import { retriedBy } from "../retries.ts";
import { readingOf } from "./readings.ts";

export type TelemetryDependencies = {
  readonly append: Append;
  readonly host: HostReader;
  /** Milliseconds of a small write and fsync in the data folder. */
  readonly measureFsyncMs: () => Promise<number>;
  readonly deadLetters: DeadLetters;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
};

export type TelemetryOptions = {
  readonly node: string;
  /** From `nextEpoch`. */
  readonly epoch: number;
  /** Default `telemetry`. */
  readonly stream?: string;
  /** Default 1 s. */
  readonly intervalMs?: number;
  /** Between two measurements of the fsync time. Default 10 s. */
  readonly fsyncIntervalMs?: number;
  /** Default `local`. */
  readonly level?: DurabilityLevel;
};

export interface TelemetrySource {
  /** The latest reading, for status; undefined before the second sample. */
  readonly latest: Readonly<Record<string, number>> | undefined;
  /** Readings that wait for the store. */
  readonly waiting: number;
  stop(): Promise<void>;
}

const waitingMax = 600;
const batchMax = 60;

/** Starts at once; the first entry follows after one interval. */
export function startTelemetry(
  deps: TelemetryDependencies,
  options: TelemetryOptions,
): TelemetrySource {
  const intervalMs = options.intervalMs ?? 1000;
  const level = options.level ?? { level: "local" };
  const stream = options.stream ?? "telemetry";
  const readings = deps.metrics.counter(
    "skerry_ingest_telemetry_readings_total",
    "Readings of the host by what became of them.",
    ["outcome"],
  );
  let waiting: EntryInput[] = [];
  let previous: HostSample | undefined;
  let latest: Record<string, number> | undefined;
  let sequence = 0;
  let fsyncMs: number | undefined;
  let running: Promise<void> | undefined;
  let probing: Promise<void> | undefined;

  const read = async () => {
    const sample = await deps.host.sample();
    if (previous) {
      latest = { ...readingOf(previous, sample, { fsyncMs }) };
      waiting.push({
        stream,
        atMs: deps.clock.wallMs(),
        key: { producer: `host/${options.node}`, epoch: options.epoch, sequence: ++sequence },
        body: new TextEncoder().encode(JSON.stringify({ node: options.node, ...latest })),
      });
      if (waiting.length > waitingMax) {
        readings.inc({ outcome: "dropped" }, waiting.length - waitingMax);
        waiting = waiting.slice(-waitingMax);
      }
    }
    previous = sample;
  };

  const append = (batch: readonly EntryInput[]) =>
    deps.append(batch, { level, timeoutMs: 10 * intervalMs });
  deps.deadLetters.retryBy("host", ({ entries }) =>
    retriedBy(() =>
      append(entries.map((entry) => ({ ...entry, body: new TextEncoder().encode(entry.body) }))),
    ),
  );

  const send = async () => {
    while (waiting.length > 0) {
      const batch = waiting.slice(0, batchMax);
      const outcome = await append(batch);
      if (outcome.state !== "refused") {
        readings.inc({ outcome: "stored" }, batch.length);
      } else if (outcome.retryable) {
        deps.log.warn("telemetry waits for the store", {
          code: outcome.code,
          waiting: waiting.length,
        });
        return;
      } else {
        readings.inc({ outcome: "refused" }, batch.length);
        const payload = batch[0]?.body ?? new Uint8Array();
        const { code, message } = outcome;
        deps.deadLetters.record({
          ...{ source: "host", stream, payload, code, message },
          again: { by: "host", entries: batch.map(asText) },
        });
      }
      waiting = waiting.slice(batch.length);
    }
  };

  const probe = async () => {
    try {
      fsyncMs = await deps.measureFsyncMs();
    } catch (error) {
      // A disk that refuses has no time to show; the store's own writes will say what is wrong.
      fsyncMs = undefined;
      deps.log.warn("the disk could not be measured", { error });
    }
  };

  const timer = every(
    deps.clock,
    intervalMs,
    () => {
      running = (async () => {
        await read();
        await send();
      })();
      return running;
    },
    (error) => deps.log.warn("telemetry failed", { error }),
  );
  const probeTimer = every(
    deps.clock,
    options.fsyncIntervalMs ?? 10_000,
    () => {
      probing = probe();
      return probing;
    },
    (error) => deps.log.error("telemetry probe failed", { error }),
  );

  return {
    get latest() {
      return latest;
    },
    get waiting() {
      return waiting.length;
    },
    async stop() {
      timer.cancel();
      probeTimer.cancel();
      await Promise.allSettled([running, probing]);
    },
  };
}

const asText = ({ body, ...entry }: EntryInput) => ({
  ...entry,
  body: new TextDecoder().decode(body),
});

/**
 * A number that is larger than at any earlier start of this node, kept at `path`. The wall clock
 * helps where the file was lost, the file where the clock went back.
 */
export function nextEpoch(deps: { clock: Clock; log: Log }, path: string): number {
  let last = 0;
  try {
    const value = readRecord(path);
    if (Number.isSafeInteger(value)) last = Number(value);
  } catch (error) {
    deps.log.warn("the last epoch is unreadable; going on from the clock", { path, error });
  }
  const epoch = Math.max(last + 1, Math.floor(deps.clock.wallMs()));
  writeRecord(path, epoch);
  return epoch;
}
