/**
 * Coordination from this node's own ledger: who may ask how much at a time (C9), and which of the
 * ledger's failures is told as what. What the answers mean is the other files' of this folder.
 */
import type { Clock } from "../../../lib/clock.ts";
import type { Log } from "../../../lib/log.ts";
import type { Random } from "../../../lib/random.ts";
import { createShares, type Shares } from "../../../lib/shares.ts";
import type { Ledger } from "../../ledger.ts";
import {
  isRead,
  type Caller,
  type Coordination,
  type CoordinationAnswer,
  type CoordinationRequest,
} from "../coordination.ts";
import {
  coordinationBusy,
  quotaExceeded,
  shownLimits,
  type CoordinationLimits,
} from "../limits.ts";
import type { Namespace } from "../namespace.ts";
import { applicationSpace, type Space } from "../spaces.ts";
import { createBatches } from "./batches.ts";
import { createClaims } from "./claims.ts";
import { createKeys } from "./keys.ts";
import { createQuorumView } from "./quorum.ts";
import { createReceipts } from "./receipts.ts";
import { createReserve } from "./room.ts";
import { createSessions, type CallOptions } from "./sessions.ts";
import { observeClaim, watchKeys } from "./streams.ts";
import { createUsage } from "./usage.ts";

/** `close` ends its own watch of the ledger. */
export type CoordinationService = Coordination & { close(): void };

const ttlMsDefault = 10_000;
/** A read that comes late is of no use, and may be asked of another server. */
const readTimeoutMs = 3000;

/** Asks nothing of the ledger before the first request. */
export function createCoordinationService(
  deps: { ledger: Ledger; clock: Clock; random: Random; log: Log },
  options: {
    /** Default: that of applications. */
    space?: Space;
    limits?: Partial<CoordinationLimits>;
    /** Within which a write is answered, or its outcome unknown. Default 5 s. */
    timeoutMs?: number;
  } = {},
): CoordinationService {
  const { ledger, clock } = deps;
  const { space = applicationSpace, timeoutMs = 5000 } = options;
  const limits = { ...space.limits, ...options.limits };
  const quorum = createQuorumView(deps);
  const usage = createUsage(deps, space.prefix);
  const sessions = createSessions({ ledger, usage }, limits);
  const reserve = createReserve({ ledger, usage }, limits);
  const keys = createKeys({ ledger, reserve, sessions });
  const batches = createBatches({ ledger, reserve, receipts: createReceipts({ ledger, clock }) });
  const claims = createClaims({ ledger, usage, sessions, clock }, limits);
  const calls = createShares({
    perTakerMax: limits.callsOfOne,
    totalMax: limits.calls,
    reserveMax: Math.ceil(limits.calls * 1.25),
    littleMax: 4,
  });
  const watches = createShares({
    perTakerMax: limits.watches,
    totalMax: Infinity,
    reserveMax: Infinity,
    littleMax: 0,
  });

  const answer = (
    caller: Caller,
    namespace: Namespace,
    request: CoordinationRequest,
    call: CallOptions,
  ): Promise<CoordinationAnswer> => {
    switch (request.type) {
      case "describe":
        return describe(caller, namespace, call);
      case "get":
        return keys.get(namespace, request, call);
      case "list":
        return keys.list(namespace, request, call);
      case "put":
        return keys.put(namespace, request, call);
      case "delete":
        return keys.delete(namespace, request, call);
      case "read":
        return batches.read(namespace, request, call);
      case "transact":
        return batches.transact(namespace, request, call);
      case "session-create":
        return sessions.create(namespace, request.ttlMs ?? ttlMsDefault, call);
      case "session-renew":
        return sessions.renew(namespace, request.session);
      case "session-end":
        return sessions.end(namespace, request.session);
      case "claim":
        return claims.claim(namespace, request, call);
      case "holder":
        return claims.holder(namespace, request, call);
      case "release":
        return claims.release(namespace, request, call);
    }
  };

  const describe = async (
    { id }: Caller,
    namespace: Namespace,
    call: CallOptions,
  ): Promise<CoordinationAnswer> => {
    const { application } = namespace;
    const { keys: held, bytes, sessions: open } = await usage.of(application, call);
    const used = {
      keys: held,
      bytes,
      sessions: open,
      watches: watches.heldBy(id),
      waiters: claims.waiting(application),
    };
    const description = { application, usage: used, limits: shownLimits(limits) };
    return { state: "description", description };
  };

  return {
    async call(caller, request, { signal } = {}) {
      const namespace = space.admit(caller, request);
      const call = {
        timeoutMs: isRead(request) ? Math.min(timeoutMs, readTimeoutMs) : timeoutMs,
        signal: signal ?? new AbortController().signal,
      };
      if (!("stale" in request && request.stale)) quorum.assertNotLost();
      // Who waits has a limit of its own, and holds up nobody meanwhile.
      const isWait = request.type === "claim" && (request.waitMs ?? 0) > 0;
      const release = isWait ? undefined : take(calls, caller.id);
      try {
        const answered = await answer(caller, namespace, request, call);
        if (answered.state === "unknown") quorum.suspect();
        return answered;
      } catch (error) {
        throw await quorum.explain(error);
      } finally {
        release?.();
      }
    },
    async *stream(caller, request, { signal = new AbortController().signal } = {}) {
      const namespace = space.admit(caller, request);
      const { id } = caller;
      if (watches.take(id, 1) === "taker-full")
        throw quotaExceeded(limits, "watches", watches.heldBy(id));
      try {
        yield* request.type === "watch"
          ? watchKeys(ledger, namespace, request, signal)
          : observeClaim(ledger, namespace, request, signal);
      } catch (error) {
        if (signal.aborted) return;
        throw await quorum.explain(error);
      } finally {
        watches.release(id, 1);
      }
    },
    close: () => usage.close(),
  };
}

/** Throws `coordination-busy`; gives what lets the place go. */
export function take(shares: Shares, taker: string, what = "requests"): () => void {
  if (shares.take(taker, 1) !== "taken") throw coordinationBusy(what);
  return () => shares.release(taker, 1);
}
