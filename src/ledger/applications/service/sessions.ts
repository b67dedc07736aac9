/**
 * Sessions: a lease of the ledger, and a key under it that says whose it is. A lease's id is never
 * given out twice, so that an owner once seen is remembered without asking again.
 */
import { encodeError, SkerryError } from "../../../lib/errors.ts";
import type { LeaseId, Ledger } from "../../ledger.ts";
import type { CoordinationAnswer } from "../coordination.ts";
import { quotaExceeded, sessionUnknown, type CoordinationLimits } from "../limits.ts";
import type { Namespace } from "../namespace.ts";
import { unknownOf } from "./items.ts";
import { nothing, type Usage } from "./usage.ts";

export interface Sessions {
  create(namespace: Namespace, ttlMs: number, options: CallOptions): Promise<CoordinationAnswer>;
  renew(namespace: Namespace, session: string): Promise<CoordinationAnswer>;
  end(namespace: Namespace, session: string): Promise<CoordinationAnswer>;
  /** The lease of a session of this application. Throws `session-unknown`. */
  leaseOf(namespace: Namespace, session: string): Promise<LeaseId>;
}

export type CallOptions = { readonly timeoutMs: number; readonly signal: AbortSignal };

const rememberedMax = 4096;

export function createSessions(
  deps: { ledger: Ledger; usage: Usage },
  limits: CoordinationLimits,
): Sessions {
  const { ledger, usage } = deps;
  const owners = new Map<string, string>();

  const remember = (session: string, application: string) => {
    owners.set(session, application);
    const [oldest] = owners.keys();
    if (owners.size > rememberedMax && oldest !== undefined) owners.delete(oldest);
  };

  const leaseOf: Sessions["leaseOf"] = async (namespace, session) => {
    if (owners.get(session) === namespace.application) return session as LeaseId;
    const { keyValue } = await ledger.get(namespace.session(session));
    if (keyValue?.lease !== session) throw sessionUnknown(session);
    remember(session, namespace.application);
    return session as LeaseId;
  };

  return {
    leaseOf,
    async create(namespace, ttlMs, call) {
      const { application } = namespace;
      const { sessions } = await usage.of(application, call);
      if (sessions >= limits.sessions) throw quotaExceeded(limits, "sessions", sessions);
      const reservation = usage.reserve(application, { ...nothing, sessions: 1 });
      try {
        const granted = await ledger.grant(ttlMs);
        const key = namespace.session(granted.lease);
        const value = new TextEncoder().encode(JSON.stringify({ ttlMs: granted.ttlMs }));
        const outcome = await ledger.transact(
          [{ key, modRevision: 0 }],
          [{ type: "put", key, value, lease: granted.lease }],
          call,
        );
        if (outcome.state === "done") {
          reservation.settle(outcome.revision);
          remember(granted.lease, application);
          return { state: "done", session: granted.lease, ttlMs: granted.ttlMs };
        }
        reservation.settle(outcome.state === "unknown" ? "unknown" : undefined);
        if (outcome.state === "unknown") return unknownOf(outcome);
        throw new SkerryError({
          code: "internal",
          message: `the ledger gave out lease ${granted.lease} twice`,
        });
      } catch (error) {
        reservation.settle(undefined);
        throw error;
      }
    },
    async renew(namespace, session) {
      const lease = await leaseOf(namespace, session);
      try {
        const { ttlMs } = await ledger.renew(lease);
        return { state: "done", ttlMs };
      } catch (error) {
        if (isGone(error)) owners.delete(session);
        throw isGone(error) ? sessionUnknown(session) : error;
      }
    },
    async end(namespace, session) {
      const lease = await leaseOf(namespace, session);
      owners.delete(session);
      try {
        await ledger.revoke(lease);
      } catch (error) {
        if (isGone(error)) throw sessionUnknown(session);
        // A revocation tells no outcome of its own: it may have been done all the same.
        return { state: "unknown", cause: encodeError(error) };
      }
      return { state: "done" };
    },
  };
}

export const isGone = (error: unknown): boolean =>
  error instanceof SkerryError && error.code === "lease-not-found";
