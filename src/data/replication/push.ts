/**
 * Sends this node's own log to one peer as it grows: a few batches under way at a time, in order. An
 * answer that shows a gap, or a failure, starts anew from what the peer says it has.
 */
import type { Log } from "../../lib/log.ts";
import type { Link } from "../../transport/index.ts";
import type { ReplicatedStore, Vector } from "./replicated.ts";
import { decodePushed } from "./messages.ts";

export interface Push {
  /**
   * What the peer was found to have. `top` is the log's end here. A peer that has less than it had
   * acknowledged before it was asked (`ackedBefore`) lost some, and gets it again.
   */
  resume(found: { origin: string; after: number; top: number; ackedBefore: number }): void;
  grown(vector: Vector): void;
  readonly acked: number;
  stop(): void;
}

const windowBatches = 4;

export function createPush(
  deps: {
    store: Pick<ReplicatedStore, "log">;
    link: Link;
    log: Log;
    onAck: (vector: Vector) => void;
  },
  options: { methods: string; batchBytesMax: number; timeoutMs: number },
): Push {
  const { store, link, log } = deps;
  let origin = "";
  let next = 1;
  let top = 0;
  let acked = 0;
  let inFlight = 0;
  let reading = false;
  let stopped = false;
  /** Set by a failure or a gap: what was sent after it is in doubt until the peer says what it has. */
  let broken = true;

  const ready = () => !stopped && !broken && inFlight < windowBatches && next <= top;

  const pump = async () => {
    if (reading) return;
    reading = true;
    try {
      while (ready()) {
        const batch = await store.log({ origin, from: next, bytesMax: options.batchBytesMax });
        // Forgotten: who lacks that much takes the documents as they are.
        if (!batch) {
          broken = true;
          return;
        }
        if (batch.origin !== origin || batch.from !== next) continue;
        next = batch.to + 1;
        inFlight++;
        void send(batch.bytes).finally(() => {
          inFlight--;
          void pump();
        });
      }
    } catch (error) {
      broken = true;
      log.warn("reading the log to push it failed; it is tried again", { error });
    } finally {
      reading = false;
    }
  };

  const send = async (bytes: Uint8Array) => {
    try {
      const answer = await link.request(`${options.methods}.push`, bytes, {
        timeoutMs: options.timeoutMs,
      });
      const pushed = decodePushed(answer);
      if (stopped) return;
      if (pushed.state === "gap") {
        broken = true;
        return;
      }
      // More than there is: what it says of this log is worth nothing, and the next comparison tells.
      if (Math.max(pushed.top, pushed.vector?.[origin] ?? 0) > top && pushed.origin === origin) {
        broken = true;
        return;
      }
      if (pushed.origin === origin) acked = Math.max(acked, pushed.top);
      deps.onAck({ ...pushed.vector, [pushed.origin]: pushed.top });
    } catch (error) {
      broken = true;
      if (!link.closed.aborted) log.warn("a push to a peer failed; it is tried again", { error });
    }
  };

  return {
    resume(found) {
      top = Math.max(found.origin === origin ? top : 0, found.top);
      // Answers still under way would be mistaken for answers to what is sent anew.
      if (broken && inFlight > 0) return;
      if (broken || found.origin !== origin || found.after < found.ackedBefore) {
        ({ origin } = found);
        acked = found.after;
        next = found.after + 1;
        broken = false;
      }
      // Somebody else may have brought it further than this push did.
      next = Math.max(next, found.after + 1);
      void pump();
    },
    grown(vector) {
      top = vector[origin] ?? top;
      void pump();
    },
    get acked() {
      return acked;
    },
    stop() {
      stopped = true;
    },
  };
}
