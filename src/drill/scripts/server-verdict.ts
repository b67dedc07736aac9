/** What the loss of the server's machine did to the rest of the cell. Pure, and as strict as `verdict.ts`. */
import { atLeast, atMost, type FaultRecord, type PromiseResult } from "../drill.ts";
import type { EntryCheckResult } from "../checkers/entries.ts";
import type { EntryLoadResult } from "../load/entries.ts";
import type { RequestSample } from "../load/requests.ts";
import { p99DuringMs, replacedWithinMs } from "./loss-verdict.ts";
import {
  afterglowMs,
  caughtUp,
  entriesPerSecond,
  notMeasured,
  p99Between,
  type Outage,
} from "./verdict.ts";

const refusedWithinMs = 5000;
/**
 * Until the servers that are left have concluded that they are too few: a write in that time may be
 * unknown, but never accepted. That the only server is lost is known to whoever asks it.
 */
const concludedWithinMs: Readonly<Record<Lost, number>> = { server: 0, quorum: 5000 };
const replicatedWithinMs = 10_000;
const writesBackWithinMs = 10_000;

/** One try of what kubectl does, through one of the other nodes. */
export type Attempt = {
  /** Wall clock. */
  readonly atMs: number;
  readonly tookMs: number;
  readonly failure?: string;
};

/** What is lost, and with which code a write is refused then. */
export type Lost = "server" | "quorum";

export type ServerLossSeen = {
  readonly lost: Lost;
  readonly outage: Outage & { readonly returnedMs: number };
  /** The nodes that live on. */
  readonly others: readonly string[];
  readonly writes: readonly Attempt[];
  readonly reads: readonly Attempt[];
  /** Pids by uid of pod, on the other nodes: before the loss, and at its end. */
  readonly before: ReadonlyMap<string, string>;
  readonly after: ReadonlyMap<string, string>;
  /** Entries acknowledged while it was away, counted in the others and the hub before it returned. */
  readonly meanwhile: EntryCheckResult;
  readonly entries: Pick<EntryLoadResult, "byNode">;
  readonly samples: readonly RequestSample[];
  readonly slowness: number;
  /** From when its agent was ready until a write was accepted; absent when none was. */
  readonly writesBackMs?: number | undefined;
};

/**
 * There is no replacement for the only server, so that S7 looks at the time in which any other
 * machine's pods would have to be replaced, and a second on.
 */
export function serverPromises(seen: ServerLossSeen): PromiseResult[] {
  const { lost, outage, others, writes, reads } = seen;
  const concludedMs = outage.fromMs + concludedWithinMs[lost] * seen.slowness;
  const late = writes.filter(({ atMs }) => atMs >= concludedMs);
  const notRefused = notRefusedWith(`${lost}-lost`, writes, concludedMs).length;
  const failedReads = reads.filter(({ failure }) => failure !== undefined).length;
  const changed = [...seen.before].filter(([uid, pids]) => seen.after.get(uid) !== pids).length;
  return [
    atMost(
      "S1",
      concludedWithinMs[lost] === 0
        ? `writes of desired state, ${lost} lost, answered by anything but ${lost}-lost`
        : `writes of desired state, ${lost} lost, accepted, or after ${concludedWithinMs[lost]} ms answered by anything but ${lost}-lost`,
      late.length === 0 ? notMeasured : notRefused,
      0,
      "writes",
    ),
    atMost(
      "S2",
      `slowest refusal of a write, ${lost} lost`,
      slowest(writes),
      refusedWithinMs,
      "ms",
    ),
    atMost(
      "S3",
      `reads of desired state that failed, ${lost} lost`,
      reads.length === 0 ? notMeasured : failedReads,
      0,
      "reads",
    ),
    atMost(
      "S4",
      `pods of the other nodes whose uid or pid changed, ${lost} lost`,
      seen.before.size === 0 ? notMeasured : changed,
      0,
      "pods",
    ),
    atLeast(
      "S5",
      `entries acknowledged by the other nodes, ${lost} lost`,
      acknowledgedMeanwhile(seen),
      Math.floor((wholeSeconds(outage).length * entriesPerSecond) / 2 / seen.slowness),
      "entries",
    ),
    atMost(
      "S6",
      `these entries in every other node and in the hub, before the ${lost} returned`,
      Math.max(...[...others, "hub"].map((view) => caughtUp(seen.meanwhile, view))),
      replicatedWithinMs,
      "ms",
    ),
    atMost(
      "S7",
      `p99 of requests through the other nodes, for 4 s from the loss of the ${lost}`,
      p99Between(seen.samples, others, {
        fromMs: outage.fromMs,
        toMs: outage.fromMs + replacedWithinMs + afterglowMs,
      }),
      p99DuringMs,
      "ms",
    ),
    atMost(
      "S8",
      "writes accepted again after the agents of what was lost are ready",
      seen.writesBackMs ?? notMeasured,
      writesBackWithinMs,
      "ms",
    ),
  ];
}

/** Accepted, or from `concludedMs` on refused with another code than `code`. */
export function notRefusedWith(
  code: string,
  writes: readonly Attempt[],
  concludedMs: number,
): Attempt[] {
  return writes.filter(
    ({ atMs, failure }) =>
      failure === undefined || (atMs >= concludedMs && !failure.includes(code)),
  );
}

/** For a person: what else was answered. */
export function serverRemarks({ lost, outage, writes, reads }: ServerLossSeen): string[] {
  const tell = (what: string, attempts: readonly Attempt[]) =>
    [...Map.groupBy(attempts, ({ failure }) => failure ?? "accepted")].map(
      ([failure, those]) =>
        `${what}, ${those.map(({ atMs }) => Math.round(atMs - outage.fromMs)).join(", ")} ms after the loss: ${failure.slice(0, 300)}`,
    );
  return [
    ...tell("a write", notRefusedWith(`${lost}-lost`, writes, outage.fromMs)),
    ...tell(
      "a read",
      reads.filter(({ failure }) => failure !== undefined),
    ),
  ];
}

/** Back means that writes are accepted again. */
export function serverRecord({ outage, writesBackMs }: ServerLossSeen): FaultRecord {
  const { atMs, fault, fromMs, returnedMs } = outage;
  return {
    atMs,
    fault,
    ...(writesBackMs === undefined
      ? {}
      : { recoveredMs: Math.round(returnedMs - fromMs + writesBackMs) }),
  };
}

function slowest(attempts: readonly Attempt[]): number {
  return attempts.length === 0
    ? notMeasured
    : Math.round(Math.max(...attempts.map(({ tookMs }) => tookMs)));
}

/** Seconds of the wall clock that lie wholly inside the outage. */
function wholeSeconds({ fromMs, returnedMs }: ServerLossSeen["outage"]): number[] {
  const first = Math.ceil(fromMs / 1000);
  const count = Math.max(0, Math.floor(returnedMs / 1000) - first);
  return Array.from({ length: count }, (_, index) => first + index);
}

function acknowledgedMeanwhile({ outage, others, entries }: ServerLossSeen): number {
  const seconds = wholeSeconds(outage);
  return others
    .flatMap((node) => seconds.map((second) => entries.byNode[node]?.[second] ?? 0))
    .reduce((sum, count) => sum + count, 0);
}
