/**
 * Locks and elections: whoever creates the claim's key under its own lease holds it, and the revision
 * that created it is the fencing token. Who waits stands in a queue of this server; only the first in
 * it watches the key and tries, so that a lock that is given back wakes one waiter of each server.
 */
import { deadline, type Clock } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";
import type { KeyValue, LeaseId, Ledger, Revision } from "../../ledger.ts";
import type { CoordinationAnswer, RequestOf } from "../coordination.ts";
import { quotaExceeded, sessionUnknown, type CoordinationLimits } from "../limits.ts";
import type { Namespace } from "../namespace.ts";
import { claimBytes, holderOf, unknownOf } from "./items.ts";
import { isGone, type CallOptions, type Sessions } from "./sessions.ts";
import { createTurns } from "./turns.ts";
import { nothing, type Usage } from "./usage.ts";

export interface Claims {
  claim(namespace: Namespace, request: RequestOf<"claim">, call: CallOptions): Answer;
  holder(namespace: Namespace, request: RequestOf<"holder">, call: CallOptions): Answer;
  release(namespace: Namespace, request: RequestOf<"release">, call: CallOptions): Answer;
  /** Tries of an application that wait now. */
  waiting(application: string): number;
}
type Answer = Promise<CoordinationAnswer>;

export function createClaims(
  deps: { ledger: Ledger; usage: Usage; sessions: Sessions; clock: Clock },
  limits: CoordinationLimits,
): Claims {
  const { ledger, usage, sessions, clock } = deps;
  const turns = createTurns();
  const waitersBy = new Map<string, number>();

  /** How things stand: `done` when this very try holds it already. */
  const look = async (
    namespace: Namespace,
    request: RequestOf<"claim">,
    { timeoutMs }: CallOptions,
  ): Answer => {
    const key = namespace.claim(request.kind, request.name);
    const { keyValue, revision } = await ledger.get(key, { timeoutMs });
    return heldAnswer(request, keyValue, revision);
  };

  /**
   * One try. `refused` tells who holds it, and from which revision on to wait for its end. A caller
   * that goes away does not make its outcome unknown: what nobody can hear of is given back below.
   */
  const attempt = async (
    namespace: Namespace,
    request: RequestOf<"claim">,
    lease: LeaseId,
    call: CallOptions,
  ): Answer => {
    const { timeoutMs } = call;
    const key = namespace.claim(request.kind, request.name);
    const bytes = claimBytes(request);
    const growth = { ...nothing, keys: 1, bytes: key.length + bytes.byteLength };
    const used = await usage.of(namespace.application, call);
    const full = (["keys", "bytes"] as const).find(
      (limit) => used[limit] + growth[limit] > limits[limit],
    );
    if (full !== undefined) {
      // A try that holds it already, or waits for it, needs no room.
      const now = await look(namespace, request, call);
      if (now.state !== "refused" || now.current) return now;
      throw quotaExceeded(limits, full, used[full]);
    }
    const reservation = usage.reserve(namespace.application, growth);
    let settled: number | "unknown" | undefined;
    try {
      const outcome = await ledger.transact(
        [{ key, modRevision: 0 }],
        [{ type: "put", key, value: bytes, lease }],
        { timeoutMs },
      );
      if (outcome.state === "done") {
        settled = outcome.revision;
        return { state: "done", revision: outcome.revision, token: outcome.revision };
      }
      if (outcome.state === "unknown") {
        settled = "unknown";
        return unknownOf(outcome);
      }
      return heldAnswer(request, outcome.current[0], outcome.revision);
    } catch (error) {
      throw isGone(error) ? sessionUnknown(request.session) : error;
    } finally {
      reservation.settle(settled);
    }
  };

  /** Tries whenever the claim is free, until it is got or the time to wait is over. */
  const untilFree = async (
    namespace: Namespace,
    request: RequestOf<"claim">,
    lease: LeaseId,
    call: CallOptions & { limit: AbortSignal },
  ): Answer => {
    const key = namespace.claim(request.kind, request.name);
    for (;;) {
      const answer = await attempt(namespace, request, lease, call);
      if (answer.state !== "refused") return answer;
      await released(key, answer.revision as Revision, call.limit);
      if (call.limit.aborted) return answer;
    }
  };

  const released = async (key: string, after: Revision, signal: AbortSignal): Promise<void> => {
    try {
      for await (const { events } of ledger.watch(key, { after, signal })) {
        if (events.some((event) => event.type === "delete" && event.key === key)) return;
      }
    } catch (error) {
      // History since then is forgotten: the next try tells how things stand.
      if (!(error instanceof SkerryError && error.code === "compacted")) throw error;
    }
  };

  const wait = async (
    namespace: Namespace,
    request: RequestOf<"claim">,
    lease: LeaseId,
    call: CallOptions,
  ): Answer => {
    const { application } = namespace;
    const waiting = waitersBy.get(application) ?? 0;
    if (waiting >= limits.waiters) throw quotaExceeded(limits, "waiters", waiting);
    waitersBy.set(application, waiting + 1);
    const limit = deadline(clock, request.waitMs ?? 0, { parent: call.signal });
    try {
      const before = await look(namespace, request, call);
      if (before.state === "done") return before;
      const turn = await turns.take(namespace.claim(request.kind, request.name), limit.signal);
      try {
        if (turn.isFirst)
          return await untilFree(namespace, request, lease, { ...call, limit: limit.signal });
      } finally {
        turn.end();
      }
      // Its time was over before its turn came.
      return await look(namespace, request, call);
    } finally {
      limit.done();
      const left = (waitersBy.get(application) ?? 1) - 1;
      if (left > 0) waitersBy.set(application, left);
      else waitersBy.delete(application);
    }
  };

  return {
    waiting: (application) => waitersBy.get(application) ?? 0,
    async claim(namespace, request, call) {
      const lease = await sessions.leaseOf(namespace, request.session);
      const answer =
        request.waitMs === undefined || request.waitMs === 0
          ? await attempt(namespace, request, lease, call)
          : await wait(namespace, request, lease, call);
      if (answer.state === "done" && call.signal.aborted && request.id === undefined) {
        // Nobody is there to hear of it, and nobody can ask for it again.
        const key = namespace.claim(request.kind, request.name);
        const modRevision = (answer.token ?? 0) as Revision;
        const given = await ledger.transact([{ key, modRevision }], [{ type: "delete", key }]);
        if (given.state === "unknown") return unknownOf(given);
        throw call.signal.reason;
      }
      return answer;
    },
    async holder(namespace, { kind, name, stale }, call) {
      const { keyValue, revision } = await ledger.get(namespace.claim(kind, name), {
        ...call,
        stale: stale ?? false,
      });
      return { state: "holder", revision, holder: keyValue ? holderOf(keyValue) : null };
    },
    async release(namespace, { kind, name, token }, call) {
      const key = namespace.claim(kind, name);
      const outcome = await ledger.transact(
        [{ key, modRevision: token as Revision }],
        [{ type: "delete", key }],
        call,
      );
      if (outcome.state === "done") return { state: "done", revision: outcome.revision };
      if (outcome.state === "unknown") return unknownOf(outcome);
      const [current] = outcome.current;
      return {
        state: "refused",
        code: "not-held",
        message: `${kind} ${name} is not held under token ${token}`,
        revision: outcome.revision,
        current: current ? holderOf(current) : null,
      };
    },
  };
}

/** To a try that did not create the claim's key: who holds it, which may be that try itself (C5). */
function heldAnswer(
  { kind, name, session, id }: RequestOf<"claim">,
  keyValue: KeyValue | undefined,
  revision: Revision,
): CoordinationAnswer {
  const holder = keyValue ? holderOf(keyValue) : null;
  if (holder && id !== undefined && holder.session === session && holder.id === id)
    return { state: "done", revision, token: holder.token };
  return {
    state: "refused",
    code: "lock-held",
    message: holder
      ? `${kind} ${name} is held by session ${holder.session}`
      : `others wait for ${kind} ${name} before this session`,
    revision,
    current: holder,
  };
}
