/** What the two halves of a link (calls we open, calls the peer opens) ask of it. */
import { SkerryError } from "../../lib/errors.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Budget } from "./body.ts";
import type { Frame, Priority } from "./frames.ts";
import type { LinkLimits } from "./limits.ts";
import type { Source } from "./outbox.ts";

export type Wire = {
  readonly clock: Clock;
  readonly limits: LinkLimits;
  /** Bodies being received. */
  readonly inbound: Budget;
  /** Answers waiting to be sent. */
  readonly outbound: Budget;
  control(frame: Frame): void;
  send(priority: Priority, source: Source): void;
  /** A call ended: a retired link may now be done. */
  callEnded(): void;
};

export function linkBusy(what: string): SkerryError {
  return new SkerryError({
    code: "link-busy",
    message: `the link has no room for ${what}`,
    hint: "wait for calls in flight to end and try again",
    retryable: true,
  });
}

export function linkTimeout(method: string, timeoutMs: number): SkerryError {
  return new SkerryError({
    code: "link-timeout",
    message: `${method} was not answered within ${timeoutMs} ms`,
    hint: "the request may have run: repeat it only if it is harmless twice",
    retryable: true,
  });
}

export function linkLost(cause: unknown, method: string): SkerryError {
  return new SkerryError({
    code: "link-lost",
    message: `the link was lost while ${method} was under way`,
    hint: "the request may have run: repeat it only if it is harmless twice",
    retryable: true,
    cause,
  });
}

/** For a call that was never sent. */
export function linkClosed(cause: unknown): SkerryError {
  return new SkerryError({
    code: "link-closed",
    message: "the link takes no more requests; this one was not sent",
    hint: "use the link that replaced it",
    retryable: true,
    cause,
  });
}
