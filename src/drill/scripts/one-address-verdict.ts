/** What clients and neighbours saw of one address while its holders came and went. Pure. */
import { atLeast, atMost, type FaultRecord, type PromiseResult } from "../drill.ts";
import type { RequestSample } from "../load/requests.ts";
import type { ArpSample } from "../site/arp-watch.ts";
import { notMeasured } from "./verdict.ts";

export type Turn = {
  readonly fault: string;
  readonly holder: string;
  /** Who held it afterwards; absent when nobody was given it in time. */
  readonly next?: string;
  /** Since the load began. */
  readonly atMs: number;
  /** Wall clock: the fault, its end, and when the cell had settled after it. */
  readonly fromMs: number;
  readonly healedMs: number;
  readonly settledMs: number;
  /** By `status.moves`, from the fault until the cell had settled. */
  readonly moves: number;
  /** Given back so soon that its lease had not run out. */
  readonly short: boolean;
  /** Its kernel lives on, and takes connections that nobody answers. */
  readonly frozen: boolean;
};

export type OneAddressSeen = {
  /** How long the clients wait before they try again. */
  readonly patienceMs: number;
  readonly turns: readonly Turn[];
  readonly samples: readonly RequestSample[];
  /** Wall clock of each MQTT acknowledgement. */
  readonly acknowledgedMs: readonly number[];
  readonly arp: readonly ArpSample[];
  /** Events that tell of a move. */
  readonly told: number;
};

const outageWithinMs = 3000;
/** One more patience of a client: a frozen machine's kernel took its connection. */
const frozenWithinMs = 4000;
/** A lease of 6 s, which the kernel ends up to a second late, and a second of asking. */
const leaseOverMs = 8000;
/** A holder that was cut off for a moment asks whose it is as soon as it can. */
const yieldWithinMs = 5000;

export function oneAddressPromises(seen: OneAddressSeen): PromiseResult[] {
  const { turns } = seen;
  const answeredMs = answeredAt(seen.samples);
  const worst = (measure: (turn: Turn) => number, of = turns) =>
    of.length === 0 ? notMeasured : Math.max(...of.map(measure));
  const long = turns.filter(({ short }) => !short);
  const lost = turns.filter(({ frozen }) => !frozen);
  const frozen = turns.filter((turn) => turn.frozen);
  return [
    atMost(
      "W1",
      "longest time without an answered HTTP request at the address, holder cut off or killed",
      worst((turn) => outageMs(turn, answeredMs), lost),
      outageWithinMs,
      "ms",
    ),
    atMost(
      "W2",
      "longest time without an acknowledged MQTT message at the address, holder cut off or killed",
      worst((turn) => outageMs(turn, seen.acknowledgedMs), lost),
      outageWithinMs,
      "ms",
    ),
    atMost(
      "W9",
      "longest time without either, holder frozen: its kernel goes on taking connections",
      worst(
        (turn) => Math.max(outageMs(turn, answeredMs), outageMs(turn, seen.acknowledgedMs)),
        frozen,
      ),
      frozenWithinMs,
      "ms",
    ),
    atMost(
      "W3",
      "requests to the address that failed after it answered again and a client's patience was over",
      turns.length === 0 ? notMeasured : failedAfterwards(seen, answeredMs),
      0,
      "requests",
    ),
    atMost(
      "W4",
      "questions to the network that two machines answered, the lost holder back and its lease over",
      seen.arp.length === 0
        ? notMeasured
        : long.reduce(
            (sum, turn) => sum + doubles(seen.arp, turn.healedMs, turn.settledMs).length,
            0,
          ),
      0,
      "questions",
    ),
    atMost(
      "W5",
      "a holder cut off or frozen answers the network beside the next one, from the fault",
      worst((turn) => doubleUntilMs(seen.arp, turn, turn.fromMs), long),
      leaseOverMs,
      "ms",
    ),
    atMost(
      "W6",
      "a holder that is back before its lease is over answers beside the next one, from its return",
      worst(
        (turn) => doubleUntilMs(seen.arp, turn, turn.healedMs),
        turns.filter(({ short }) => short),
      ),
      yieldWithinMs,
      "ms",
    ),
    atMost(
      "W7",
      "moves beyond one for each loss: none when a holder comes back",
      turns.length === 0
        ? notMeasured
        : turns.reduce((sum, { moves }) => sum + Math.abs(moves - 1), 0),
      0,
      "moves",
    ),
    atLeast("W8", "moves told in an event", seen.told, Math.max(1, turns.length), "events"),
  ];
}

export function oneAddressRecords(seen: OneAddressSeen): FaultRecord[] {
  const answeredMs = answeredAt(seen.samples);
  return seen.turns.map((turn) => {
    const recoveredMs = outageMs(turn, answeredMs);
    return {
      atMs: turn.atMs,
      fault: turn.fault,
      ...(recoveredMs === notMeasured ? {} : { recoveredMs }),
    };
  });
}

/** For a person: each turn as the clients and the network saw it. */
export function oneAddressRemarks(seen: OneAddressSeen): string[] {
  const answeredMs = answeredAt(seen.samples);
  const text = (ms: number) => (ms === notMeasured ? "never" : `${ms} ms`);
  return seen.turns.map((turn) => {
    const [http, mqtt] = [outageMs(turn, answeredMs), outageMs(turn, seen.acknowledgedMs)];
    const since = turn.short ? turn.healedMs : turn.fromMs;
    const both = doubleUntilMs(seen.arp, turn, since);
    return `${turn.fault}: ${turn.holder} to ${turn.next ?? "nobody"}, HTTP ${text(http)}, MQTT ${text(mqtt)}; both answered until ${text(both)} after ${turn.short ? "the return" : "the fault"}`;
  });
}

function answeredAt(samples: readonly RequestSample[]): number[] {
  return samples
    .flatMap(({ failure, atMs, tookMs }) => (failure === undefined ? [atMs + tookMs] : []))
    .toSorted((a, b) => a - b);
}

/** The longest silence that began before the fault's end; `notMeasured` where it did not end. */
export function outageMs({ fromMs, settledMs }: Turn, answeredMs: readonly number[]): number {
  let lastMs = answeredMs.findLast((atMs) => atMs <= fromMs);
  if (lastMs === undefined) return notMeasured;
  let longest = 0;
  for (const atMs of answeredMs) {
    if (atMs <= fromMs) continue;
    // What was answered before the fault is none of it.
    longest = Math.max(longest, atMs - Math.max(lastMs, fromMs));
    lastMs = atMs;
    if (atMs >= settledMs) return Math.round(longest);
  }
  return notMeasured;
}

/**
 * Due after the first answer that came through the next holder, until the next fault; less a patience, in
 * which a client may still send on connections that ended at the last one.
 */
function failedAfterwards(
  { turns, samples, patienceMs }: OneAddressSeen,
  answeredMs: readonly number[],
): number {
  return turns.reduce((sum, turn) => {
    const backMs = endOfOutage(turn, answeredMs) + patienceMs;
    const failed = samples.filter(
      ({ failure, atMs }) => failure !== undefined && atMs > backMs && atMs < turn.settledMs,
    );
    return sum + failed.length;
  }, 0);
}

/** The answer that ended the longest silence. */
function endOfOutage(turn: Turn, answeredMs: readonly number[]): number {
  const longest = outageMs(turn, answeredMs);
  let lastMs = turn.fromMs;
  for (const atMs of answeredMs) {
    if (atMs <= turn.fromMs) continue;
    if (Math.round(atMs - lastMs) >= longest) return atMs;
    lastMs = atMs;
  }
  return Number.POSITIVE_INFINITY;
}

const doubles = (arp: readonly ArpSample[], fromMs: number, toMs: number) =>
  arp.filter((sample) => sample.macs.length > 1 && sample.fromMs >= fromMs && sample.toMs <= toMs);

/** How long after `sinceMs` the last question began that two answered; 0 when there was none. */
function doubleUntilMs(arp: readonly ArpSample[], turn: Turn, sinceMs: number): number {
  if (arp.length === 0) return notMeasured;
  const last = doubles(arp, sinceMs, turn.settledMs).at(-1);
  return last === undefined ? 0 : Math.round(last.fromMs - sinceMs);
}
