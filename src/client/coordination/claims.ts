/**
 * Taking a lock or an election. Each try carries an id of its own, so that one whose answer was lost
 * is sent again and gets what it has already.
 */
import { createBackoff } from "../../lib/backoff.ts";
import { SkerryError } from "../../lib/errors.ts";
import { uuid } from "../../lib/random.ts";
import { errorOf, jsonOf, write, type Gateway } from "./gateway.ts";
import { openSession } from "./session.ts";
import type { ClaimOptions, Holder, Session } from "./types.ts";

export type ClaimKind = "lock" | "election";
export type Claim = {
  readonly token: number;
  readonly lost: AbortSignal;
  /** Gives it back, with its own session. */
  end(): Promise<void>;
};

/** In one request; longer waits are several. */
const waitMsMax = 20_000;

/** Throws `lock-held` when it was not free within `waitMs`, `session-lost`, or what the server refuses. */
export async function takeClaim(
  gateway: Gateway,
  target: { kind: ClaimKind; name: string },
  options: ClaimOptions & { waitMs: number },
): Promise<Claim> {
  const { ttlMs, signal } = options;
  const session =
    options.session ??
    (await openSession(gateway, {
      ...(ttlMs === undefined ? {} : { ttlMs }),
      ...(signal ? { signal } : {}),
    }));
  const isOwn = options.session === undefined;
  try {
    const token = await tryUntilHeld(gateway, target, session, options);
    const end = async () => {
      if (isOwn) await session.end();
      else await giveBack(gateway, target, token);
    };
    return { token, lost: session.lost, end };
  } catch (error) {
    if (isOwn) await session.end();
    throw error;
  }
}

const pathOf = ({ kind, name }: { kind: ClaimKind; name: string }) =>
  `/${kind}s/${encodeURIComponent(name)}`;

async function tryUntilHeld(
  gateway: Gateway,
  target: { kind: ClaimKind; name: string },
  session: Session,
  { waitMs, value, signal }: ClaimOptions & { waitMs: number },
): Promise<number> {
  const { clock } = gateway;
  const id = uuid(gateway.random);
  const untilMs = clock.monotonicMs() + waitMs;
  const backoff = createBackoff(gateway, { initialMs: 50, maxMs: 2000 });
  const over = signal ? AbortSignal.any([signal, session.lost]) : session.lost;
  for (;;) {
    over.throwIfAborted();
    const leftMs = Math.max(0, untilMs - clock.monotonicMs());
    const partMs = Math.ceil(Math.min(leftMs, waitMsMax));
    const failure = await attempt(gateway, target, {
      body: { session: session.id, id, waitMs: partMs, value },
      waitMs: partMs,
      signal: over,
    });
    if ("token" in failure) return failure.token;
    over.throwIfAborted();
    if (clock.monotonicMs() >= untilMs) throw failure.error;
    if (failure.error.code !== "lock-held") await clock.sleep(backoff.nextMs(), { signal: over });
  }
}

/** One request. Throws what will not be otherwise by asking again. */
async function attempt(
  gateway: Gateway,
  target: { kind: ClaimKind; name: string },
  { body, ...request }: { body: object; waitMs: number; signal: AbortSignal },
): Promise<{ token: number } | { error: SkerryError }> {
  let outcome: Awaited<ReturnType<typeof write>>;
  try {
    outcome = await write(gateway, pathOf(target), {
      ...request,
      method: "POST",
      body: JSON.stringify(body),
    });
  } catch (error) {
    if (error instanceof SkerryError && error.retryable) return { error };
    throw error;
  }
  if (outcome.state === "unknown") {
    const message = `${target.kind} ${target.name}: whether it was taken is not known`;
    const { cause } = outcome;
    return { error: new SkerryError({ code: "outcome-unknown", message, retryable: true, cause }) };
  }
  const { answer } = outcome;
  if (answer.status === 200) return { token: jsonOf<{ token: number }>(answer).token };
  const error = errorOf(answer);
  if (answer.status === 412) {
    const { current } = jsonOf<{ current: Holder | null }>(answer);
    const { code, message, hint } = error;
    return {
      error: new SkerryError({
        code,
        message,
        ...(hint === undefined ? {} : { hint }),
        retryable: true,
        details: { holder: current },
      }),
    };
  }
  if (error.retryable) return { error };
  throw error;
}

/** Lost answers are asked for again: what is not held any more is what was wanted. */
async function giveBack(
  gateway: Gateway,
  target: { kind: ClaimKind; name: string },
  token: number,
): Promise<void> {
  const path = `${pathOf(target)}?token=${token}`;
  for (let tries = 3; ; tries--) {
    const outcome = await write(gateway, path, { method: "DELETE" });
    if (outcome.state === "answered") {
      const { answer } = outcome;
      if (answer.status === 200 || answer.status === 412) return;
      throw errorOf(answer);
    }
    if (tries === 1) throw outcome.cause;
  }
}
