/**
 * This node's session in the ledger, on which its claims hang: opened when one is wanted, renewed while
 * it is used. Here it counts as over when nine tenths of its TTL have passed since the last renewal that
 * was answered was sent, by the monotonic clock: before any other node can be given what hung on it.
 */
import type { Clock, Timer } from "../../../lib/clock.ts";
import type { Log } from "../../../lib/log.ts";
import type { GroupLedger } from "../../ports.ts";

export interface NodeSession {
  /** Throws what the ledger says when none can be had now. */
  acquire(): Promise<string>;
  holds(session: string): boolean;
  /** The ledger said that it is over. */
  forget(session: string): void;
  /** Ends it: what hangs on it is free at once. */
  end(): Promise<void>;
}

type Open = { readonly session: string; readonly ttlMs: number; untilMs: number };

export function createNodeSession(
  { ledger, clock, log }: { ledger: GroupLedger; clock: Clock; log: Log },
  { ttlMs }: { ttlMs: number },
): NodeSession {
  let open: Open | undefined;
  let opening: Promise<Open> | undefined;
  let timer: Timer | undefined;
  const validUntil = (sentMs: number, ttl: number) => sentMs + ttl * 0.9;

  const renew = async (now: Open) => {
    const sentMs = clock.monotonicMs();
    let isOver = false;
    try {
      isOver = !(await ledger.renew(now.session));
      if (!isOver) now.untilMs = validUntil(sentMs, now.ttlMs);
    } catch (error) {
      log.debug("the session of consumer groups was not renewed", { error });
    }
    if (open !== now) return;
    if (isOver || clock.monotonicMs() >= now.untilMs) open = undefined;
    else renewLater(now);
  };
  const renewLater = (now: Open) => {
    timer = clock.after(now.ttlMs / 4, () => void renew(now));
  };
  const begin = async (): Promise<Open> => {
    timer?.cancel();
    const sentMs = clock.monotonicMs();
    const granted = await ledger.open(ttlMs);
    open = { ...granted, untilMs: validUntil(sentMs, granted.ttlMs) };
    renewLater(open);
    return open;
  };
  const holds = (session: string) =>
    open?.session === session && clock.monotonicMs() < open.untilMs;

  return {
    holds,
    async acquire() {
      if (open && holds(open.session)) return open.session;
      opening ??= begin().finally(() => {
        opening = undefined;
      });
      return (await opening).session;
    },
    forget(session) {
      if (open?.session !== session) return;
      timer?.cancel();
      open = undefined;
    },
    async end() {
      timer?.cancel();
      const ended = open;
      open = undefined;
      if (ended) await ledger.end(ended.session);
    },
  };
}
