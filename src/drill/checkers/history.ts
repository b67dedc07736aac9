/** Histories as coordination clients wrote them, brought into the form that each checker takes. Pure. */
import type { Call, CallOutcome, HistoryLine, HistoryValue } from "../load/coordination.ts";
import type { HistoryOperation } from "./linearizability.ts";
import type { GuardedWrite, Hold } from "./locks.ts";
import type { Delivery, WatchRun } from "./watches.ts";
import type { Creation } from "./writes.ts";

export type ClientHistory = { readonly client: number; readonly lines: readonly HistoryLine[] };

export type Histories = {
  readonly registers: readonly HistoryOperation[];
  readonly holds: readonly Hold[];
  readonly guarded: readonly GuardedWrite[];
  readonly created: readonly Creation[];
  readonly watches: readonly WatchRun[];
  /** Acknowledged writes with the revision they were told. */
  readonly acknowledged: readonly Delivery[];
  /** Calls by how they ended; `unknown` includes those without an answer. */
  readonly outcomes: Readonly<Record<CallOutcome["state"], number>>;
  /** Of answered calls. */
  readonly tookMs: readonly number[];
};

/** The last line of a client that was killed may be half a one. */
export function parseHistory(text: string): HistoryLine[] {
  return text
    .slice(0, text.lastIndexOf("\n") + 1)
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as HistoryLine);
}

type Recorded = {
  readonly client: number;
  readonly id: number;
  readonly call: Call;
  readonly calledAt: number;
  /** Absent: unknown. */
  readonly answeredAt: number | undefined;
  readonly outcome: CallOutcome;
};

export function readHistories(histories: readonly ClientHistory[]): Histories {
  const recorded = histories.flatMap(callsOf);
  const outcomes = { done: 0, refused: 0, unknown: 0, failed: 0 };
  for (const { outcome } of recorded) outcomes[outcome.state]++;
  return {
    registers: recorded.flatMap(registerOf),
    holds: histories.flatMap((history) => holdsOf(history, callsOf(history))),
    guarded: recorded.flatMap(guardedOf),
    created: recorded.flatMap(creationOf),
    watches: histories.flatMap(watchesOf),
    acknowledged: recorded.flatMap(acknowledgedOf),
    outcomes,
    tookMs: recorded.flatMap(({ calledAt, answeredAt, outcome }) =>
      answeredAt === undefined || outcome.state === "failed" ? [] : [answeredAt - calledAt],
    ),
  };
}

function callsOf({ client, lines }: ClientHistory): Recorded[] {
  const answers = new Map(
    lines.flatMap((line) => (line.line === "answer" ? [[line.id, line] as const] : [])),
  );
  return lines.flatMap((line) => {
    if (line.line !== "call") return [];
    const answer = answers.get(line.id);
    const outcome: CallOutcome = answer?.outcome ?? { state: "unknown" };
    return [
      {
        client,
        id: line.id,
        call: line.call,
        calledAt: line.atMs,
        answeredAt: outcome.state === "unknown" ? undefined : answer?.atMs,
        outcome,
      },
    ];
  });
}

const known = (value: HistoryValue | undefined) => value ?? undefined;

/** What surely did not happen leaves no trace; should it have happened, its value will be found. */
function registerOf({ client, call, calledAt, answeredAt, outcome }: Recorded): HistoryOperation[] {
  if (outcome.state === "failed") return [];
  switch (call.type) {
    case "read":
      return outcome.state === "done"
        ? [
            {
              client,
              key: call.key,
              calledAt,
              answeredAt,
              type: "read",
              value: known(outcome.value),
            },
          ]
        : [];
    case "write":
      return outcome.state === "refused"
        ? []
        : [{ client, key: call.key, calledAt, answeredAt, type: "write", value: call.value }];
    case "cas": {
      const { key, value } = call;
      const base = { client, key, calledAt, answeredAt, expected: known(call.expected), value };
      if (outcome.state === "done") return [{ ...base, type: "cas", swapped: true }];
      if (outcome.state === "unknown") return [{ ...base, type: "cas", swapped: undefined }];
      return [{ ...base, type: "cas", swapped: false, found: { value: known(outcome.found) } }];
    }
    default:
      return [];
  }
}

function guardedOf({ client, call, calledAt, answeredAt, outcome }: Recorded): GuardedWrite[] {
  if (call.type !== "guarded" || outcome.state === "failed") return [];
  const { lock, token } = call;
  const revision = outcome.state === "done" ? outcome.revision : undefined;
  return [
    {
      client,
      lock,
      token,
      calledAt,
      answeredAt,
      outcome: outcome.state,
      ...(revision === undefined ? {} : { revision }),
    },
  ];
}

function creationOf({ client, call, outcome }: Recorded): Creation[] {
  if (call.type !== "create") return [];
  const { key, value } = call;
  return [{ client, key, value, outcome: outcome.state === "failed" ? "refused" : outcome.state }];
}

function acknowledgedOf({ call, outcome }: Recorded): Delivery[] {
  if (call.type === "read" || call.type === "acquire") return [];
  if (outcome.state !== "done" || outcome.revision === undefined) return [];
  return [{ revision: outcome.revision, key: call.key, value: call.value }];
}

function holdsOf({ client, lines }: ClientHistory, calls: readonly Recorded[]): Hold[] {
  const proofs = new Map<number, number>();
  const ends = new Map<number, number>();
  for (const line of lines) {
    if (line.line === "proof") proofs.set(line.id, line.untilMs);
    if (line.line === "let-go") ends.set(line.id, line.atMs);
  }
  return calls.flatMap(({ id, call, calledAt, answeredAt, outcome }) => {
    const token = outcome.state === "done" ? outcome.token : undefined;
    if (call.type !== "acquire" || token === undefined || answeredAt === undefined) return [];
    const provedUntil = Math.min(proofs.get(id) ?? answeredAt, ends.get(id) ?? Infinity);
    return [{ client, lock: call.lock, token, calledAt, answeredAt, provedUntil }];
  });
}

function watchesOf({ client, lines }: ClientHistory): WatchRun[] {
  const runs: { after: number; upTo: number; deliveries: Delivery[] }[] = [];
  for (const line of lines) {
    if (line.line === "watch") runs.push({ after: line.after, upTo: line.after, deliveries: [] });
    const run = runs.at(-1);
    if (line.line !== "seen" || !run) continue;
    run.upTo = Math.max(run.upTo, line.revision);
    for (const { key, value } of line.events)
      run.deliveries.push({ revision: line.revision, key, value: known(value) });
  }
  return runs.map((run) => ({ watcher: `client ${client}`, ...run }));
}
