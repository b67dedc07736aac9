/**
 * What stands before every route: who calls, and whether there is room for the call. In the order in
 * which it costs: a token that was good before is looked at even while its address sends many bad ones.
 */
import type { Socket } from "node:net";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { createShares } from "../lib/shares.ts";
import type { Metrics } from "../runtime/metrics/index.ts";
import type { GatewayLimits, Subject } from "./limits.ts";
import { createRateLimiter } from "./token-bucket.ts";

export type AdmissionDependencies = {
  readonly authenticate: (token: string) => Promise<Subject | undefined>;
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** Whether a connection is over the limit, and only here to be told. */
  readonly isOverflow: (socket: Socket) => boolean;
  /** For counting. */
  readonly refused: (reason: "unauthenticated" | "rate-limited" | "busy") => void;
};

export type Call = {
  readonly socket: Socket;
  readonly address: string;
  readonly authorization: string | undefined;
  readonly contentLength: string | undefined;
  readonly isChunked: boolean;
};

export type Admitted = {
  readonly ok: true;
  readonly subject: Subject;
  /** Gives back the room that the call took. Call once. */
  readonly release: () => void;
};

export type Refused = {
  readonly ok: false;
  readonly error: SkerryError;
  readonly headers: Readonly<Record<string, string>>;
};

export type Admission = Admitted | Refused;

/** A request without its body: headers and what is made of them. */
const requestBytes = 16 * 1024;
/** Bad tokens of one address: each costs the check of a signature and a chain. */
const badTokens = { perSecond: 10, burst: 100 };
const goodTokensMax = 1024;

export function createAdmission(
  deps: AdmissionDependencies,
  limits: GatewayLimits,
): (call: Call) => Promise<Admission> {
  const requests = createRateLimiter(deps, {
    perSecond: limits.requestsPerSecond,
    burst: limits.requestsBurst,
  });
  const badByAddress = createRateLimiter(deps, badTokens);
  const goodTokens = new Set<string>();
  const shares = createShares({
    perTakerMax: limits.subjectBytesMax,
    totalMax: limits.bytesMax,
    reserveMax: limits.bytesMax * 1.25,
    littleMax: 256 * 1024,
  });
  const held = deps.metrics.gauge(
    "skerry_gateway_request_bytes",
    "Memory that requests under way may take.",
  );
  deps.metrics.beforeRender(() => held.set(shares.held));

  const rateLimited = (message: string, hint: string, waitMs: number): Refused => {
    deps.refused("rate-limited");
    const error = new SkerryError({ code: "rate-limited", message, hint, retryable: true });
    return { ok: false, error, headers: retryAfter(waitMs) };
  };

  /** Undefined for no token, or one that is not good; `wait` when it was not even looked at. */
  const authenticate = async (call: Call): Promise<Subject | { waitMs: number } | undefined> => {
    const token = /^Bearer ([\w.~+/=-]{1,8192})$/i.exec(call.authorization ?? "")?.[1];
    if (token === undefined) return undefined;
    if (!goodTokens.has(token)) {
      const turn = badByAddress.take(call.address);
      if (!turn.ok) return turn;
    }
    const subject = await deps.authenticate(token);
    if (!subject) {
      goodTokens.delete(token);
      return undefined;
    }
    if (!goodTokens.has(token)) {
      badByAddress.giveBack(call.address);
      const [oldest] = goodTokens;
      if (oldest !== undefined && goodTokens.size >= goodTokensMax) goodTokens.delete(oldest);
      goodTokens.add(token);
    }
    return subject;
  };

  return async (call): Promise<Admission> => {
    if (deps.isOverflow(call.socket)) {
      const error = new SkerryError({
        code: "too-many-connections",
        message: `${limits.connectionsMax} connections are open here, and all of them are in use`,
        hint: "use connections again (keep-alive), or ask another node",
        retryable: true,
      });
      return { ok: false, error, headers: { ...retryAfter(1000), connection: "close" } };
    }
    const subject = await authenticate(call);
    if (!subject) {
      deps.refused("unauthenticated");
      return { ok: false, error: unauthenticated(call), headers: { "www-authenticate": "Bearer" } };
    }
    if ("waitMs" in subject) {
      return rateLimited(
        `${call.address} sends many tokens that are not valid`,
        "wait, then send a valid one; tokens that were good before are not held up",
        subject.waitMs,
      );
    }
    const { id } = subject;
    const turn = requests.take(id);
    if (!turn.ok) {
      return rateLimited(
        `${id} sends more than ${limits.requestsPerSecond} requests a second`,
        "send more entries in one request",
        turn.waitMs,
      );
    }
    const bytes = requestBytes + bodyBytes(call, limits.bodyBytesMax);
    const verdict = shares.take(id, bytes);
    if (verdict === "taker-full") {
      return rateLimited(
        `${id} has requests of ${limits.subjectBytesMax} bytes under way already`,
        "wait for answers before sending more; a body without content-length counts as the largest",
        1000,
      );
    }
    if (verdict === "full") {
      deps.refused("busy");
      const error = new SkerryError({
        code: "gateway-busy",
        message: `requests of ${shares.takers} callers take all the memory that they may`,
        hint: "send again in a moment, or ask another node",
        retryable: true,
      });
      return { ok: false, error, headers: retryAfter(1000) };
    }
    return { ok: true, subject, release: () => shares.release(id, bytes) };
  };
}

function bodyBytes(call: Call, max: number): number {
  if (call.isChunked) return max;
  const length = Number(call.contentLength ?? 0);
  // What is larger is refused by its header, before it is read.
  return length <= max ? length : 0;
}

const retryAfter = (waitMs: number): Record<string, string> => ({
  "retry-after": String(Math.ceil(waitMs / 1000)),
});

const unauthenticated = ({ authorization }: Call) =>
  new SkerryError({
    code: "unauthenticated",
    message: authorization ? "the token is not valid here, or no longer" : "there is no token",
    hint: "send authorization: Bearer TOKEN; a pod finds its own in the file that SKERRY_TOKEN_FILE names",
  });
