/**
 * A session renewed by itself. It counts as lost when nine tenths of its TTL have passed since the
 * last answered renewal was sent (the tenth is for clocks that differ and work that winds down), or
 * as soon as the cell says that it is gone.
 */
import { SkerryError } from "../../lib/errors.ts";
import { call, errorOf, jsonOf, type Gateway } from "./gateway.ts";
import type { Session } from "./types.ts";

const provable = 0.9;
const ttlMsDefault = 10_000;
/** A renewal that failed is tried again soon, and often enough within the TTL. */
const againMsMax = 1000;

/** Throws what the server refuses, or `not-answering`. */
export async function openSession(
  gateway: Gateway,
  { ttlMs = ttlMsDefault, signal }: { ttlMs?: number; signal?: AbortSignal },
): Promise<Session> {
  const { clock } = gateway;
  const sentMs = clock.monotonicMs();
  const answer = await call(gateway, "/sessions", {
    method: "POST",
    body: JSON.stringify({ ttlMs }),
    signal,
  });
  if (answer.status !== 200) throw errorOf(answer);
  const { session: id, ttlMs: effectiveMs } = jsonOf<{ session: string; ttlMs: number }>(answer);
  const path = `/sessions/${encodeURIComponent(id)}`;

  const lost = new AbortController();
  const lose = (message: string, cause?: unknown) => {
    timer?.cancel();
    if (lost.signal.aborted) return;
    const hint = "what hung on it is gone or will be; begin a new one";
    lost.abort(new SkerryError({ code: "session-lost", message, hint, retryable: true, cause }));
  };
  let lastFailure: unknown;
  const onLimit = () => lose(`session ${id} could not be renewed in time`, lastFailure);
  let expiresMs = 0;
  let timer: { cancel(): void } | undefined;
  const extend = (fromMs: number, forMs: number) => {
    timer?.cancel();
    expiresMs = fromMs + provable * forMs;
    if (!lost.signal.aborted) timer = clock.after(expiresMs - clock.monotonicMs(), onLimit);
  };
  extend(sentMs, effectiveMs);

  const renew = async () => {
    let waitMs = effectiveMs / 3;
    while (!lost.signal.aborted) {
      await clock.sleep(waitMs, { signal: lost.signal });
      // Timers may be late after a suspend: the deadline is judged before anything is sent.
      const nowMs = clock.monotonicMs();
      if (nowMs >= expiresMs) return onLimit();
      waitMs = Math.min(againMsMax, effectiveMs / 10);
      try {
        const renewal = await call(
          { ...gateway, timeoutMs: Math.min(gateway.timeoutMs, effectiveMs / 3) },
          `${path}/renew`,
          { method: "POST", signal: lost.signal },
        );
        if (renewal.status !== 200) {
          const error = errorOf(renewal);
          if (error.code === "session-unknown") return lose(`session ${id} is over`, error);
          throw error;
        }
        extend(nowMs, jsonOf<{ ttlMs: number }>(renewal).ttlMs);
        waitMs = effectiveMs / 3;
      } catch (error) {
        // Told with the loss, if it comes to that.
        lastFailure = error;
      }
    }
  };
  renew().catch((error: unknown) => lose(`session ${id} is no longer renewed`, error));

  let ending: ReturnType<Session["end"]> | undefined;
  const end: Session["end"] = () => {
    ending ??= (async () => {
      lose(`session ${id} was ended`);
      const told = await call(gateway, path, { method: "DELETE" }).catch(() => undefined);
      return told?.status === 200 || told?.status === 404 ? "ended" : "left-to-expire";
    })();
    return ending;
  };
  return {
    id,
    ttlMs: effectiveMs,
    lost: lost.signal,
    end,
    async [Symbol.asyncDispose]() {
      await end();
    },
  };
}
