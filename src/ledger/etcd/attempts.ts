/**
 * Sending until one member answers: what is sent bears a mark (slots.ts), so it is applied at most once
 * however often that is. An outcome is `unknown` only when the time ends, or the caller gives up, while
 * an attempt may have been applied.
 */
import { createBackoff, type Backoff } from "../../lib/backoff.ts";
import * as wire from "./client/messages.ts";
import { EtcdFailure } from "./client/outcome.ts";
import { contractError, type Core } from "./core.ts";
import type { History } from "./history.ts";
import type { Mark, Request, Response } from "./prepare.ts";
import type { Slot } from "./slots.ts";

/** What is sent, and what an answer means for those who wait for it. */
export interface Work<T> {
  readonly lease?: string | undefined;
  request(history: History, mark: Mark | undefined): Request;
  answer(
    history: History,
    response: Response,
    about: { mark: Mark | undefined; untilMs: number },
  ): WorkAnswer<T>;
  /** It may have been applied, or may yet be. */
  unknown(cause: Error): T;
  /**
   * A member refused it, as it would again: by `failure`, which is `reason` in the contract's words.
   * `doubt`: why an earlier attempt may have been applied all the same.
   */
  refused(
    refusal: { failure: EtcdFailure; reason: unknown; doubt: Error | undefined },
    about: { mark: Mark | undefined; untilMs: number; signal: AbortSignal | undefined },
  ): T | Promise<T>;
}

export type WorkAnswer<T> =
  /** `slotRevision`: at which the slot was written last. */
  | {
      readonly state: "settled";
      readonly result: T | Promise<T>;
      readonly slotRevision: number | undefined;
    }
  /** An earlier attempt, refused, voided all that were sent: none was applied, or ever will be. */
  | { readonly state: "voided"; readonly modRevision: number }
  /** Others' writes in the slot: nothing was done by this attempt. */
  | { readonly state: "foreign-mark"; readonly modRevision: number }
  | { readonly state: "rewritten" };

/** On the monotonic clock. */
export type WorkTime = { readonly untilMs: number; readonly signal: AbortSignal | undefined };

/** Throws what the contract throws where nothing was changed. `slot`: none for what writes nothing. */
export type Send = <T>(work: Work<T>, slot: Slot | undefined, time: WorkTime) => Promise<T>;

export function createSend(core: Core): Send {
  const { clock, random } = core.deps;
  const instance = random.bytes(8);
  let sent = 0;

  /** Unique for ever: of this process, and of this transaction in it. */
  const newId = (): Uint8Array => {
    const id = new Uint8Array(16);
    id.set(instance);
    new DataView(id.buffer).setFloat64(8, ++sent);
    return id;
  };

  return async (work, slot, { untilMs, signal }) => {
    const id = newId();
    let backoff: Backoff | undefined;
    /** Why an earlier attempt may have been applied, or may yet be. */
    let doubt: Error | undefined;
    for (let attempt = 0; ; attempt++) {
      const history = core.history();
      const mark: Mark | undefined = slot && { slot, id, fence: doubt !== undefined };
      const leftMs = untilMs - clock.monotonicMs();
      try {
        const response = await core.client.attempt(wire.txn, work.request(history, mark), {
          timeoutMs: Math.max(1, core.client.attemptMs(attempt, leftMs)),
          signal,
        });
        core.note(response.header);
        const answer = work.answer(history, response, { mark, untilMs });
        switch (answer.state) {
          case "settled":
            if (slot && answer.slotRevision !== undefined) slot.modRevision = answer.slotRevision;
            return await answer.result;
          case "voided":
            doubt = undefined;
            if (slot) slot.modRevision = answer.modRevision;
            continue;
          case "foreign-mark":
            // What wrote there may have written over this transaction's mark.
            if (doubt) return work.unknown(doubt);
            if (slot) slot.modRevision = answer.modRevision;
            continue;
          case "rewritten":
            if (doubt) return work.unknown(doubt);
            await core.verify();
            break;
        }
      } catch (error) {
        if (signal?.aborted) return work.unknown(doubt ?? asError(signal.reason));
        if (!(error instanceof EtcdFailure)) {
          if (doubt) return work.unknown(doubt);
          throw error;
        }
        const reason = contractError(error, { lease: work.lease });
        if (error.kind === "refused")
          return await work.refused({ failure: error, reason, doubt }, { mark, untilMs, signal });
        if (error.kind === "unknown" && mark) doubt ??= error;
        if (clock.monotonicMs() >= untilMs) {
          if (doubt) return work.unknown(doubt);
          throw reason;
        }
      }
      backoff ??= createBackoff(core.deps, { initialMs: 20, maxMs: 250 });
      const pauseMs = backoff.nextMs();
      if (clock.monotonicMs() + pauseMs >= untilMs && doubt) return work.unknown(doubt);
      try {
        await clock.sleep(pauseMs, { signal });
      } catch (error) {
        return work.unknown(doubt ?? asError(error));
      }
    }
  };
}

export const asError = (reason: unknown): Error =>
  reason instanceof Error ? reason : new Error(String(reason));
