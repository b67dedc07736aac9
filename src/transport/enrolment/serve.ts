/**
 * `skerry-enrol/1`, serving side. The caller has no certificate yet, so everything here is bounded:
 * one request of limited size per connection, few at a time, a slow refill for each address.
 */
import type { TLSSocket } from "node:tls";
import { deadline, type Clock } from "../../lib/clock.ts";
import { encodeError, SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Audit } from "../audit.ts";
import { createMessageReader, requestBytesMax, writeMessage } from "./message.ts";

export type EnrolRemote = { readonly address: string };

/** One answer to one request; a SkerryError thrown is told to the caller. */
export type EnrolHandler = (request: Uint8Array, remote: EnrolRemote) => Promise<Uint8Array>;

const concurrentMax = 16;
const burst = 10;
const refillMs = 1000;
const addressesMax = 1024;
const timeoutMs = 10_000;

export function createEnrolServer(
  deps: { clock: Clock; log: Log; audit: Audit },
  handler: EnrolHandler,
) {
  const limiter = createLimiter(deps.clock);
  const sockets = new Set<TLSSocket>();

  const serve = async (socket: TLSSocket, anchorsPem: readonly string[]) => {
    const remote = { address: socket.remoteAddress ?? "unknown" };
    const limit = deadline(deps.clock, timeoutMs, {
      reason: () => new SkerryError({ code: "enrol-timeout", message: "the caller was too slow" }),
    });
    const answer = (message: object, body?: Uint8Array) => {
      writeMessage(socket, Buffer.from(JSON.stringify(message)));
      if (body) writeMessage(socket, body);
    };
    const reader = createMessageReader(socket);
    try {
      if (!limiter.take(remote.address) || sockets.size > concurrentMax) {
        throw new SkerryError({
          code: "enrol-busy",
          message: "too many enrolments at this time",
          hint: "wait some seconds and try again",
          retryable: true,
        });
      }
      answer({ anchorsPem });
      const request = await reader.next({ bytesMax: requestBytesMax, signal: limit.signal });
      const body = await handler(request, remote);
      answer({ ok: true }, body);
    } catch (error) {
      const code = error instanceof SkerryError ? error.code : "internal";
      deps.audit.refused(code, { remote: remote.address, during: "enrolment", error });
      // Strangers learn nothing of what went wrong inside.
      const told = error instanceof SkerryError ? error : new Error("the enrolment failed");
      if (!socket.destroyed) answer({ error: encodeError(told) });
    } finally {
      limit.done();
      socket.end();
      const timer = deps.clock.after(1000, () => socket.destroy());
      socket.once("close", () => timer.cancel());
    }
  };

  return {
    accept(socket: TLSSocket, anchorsPem: readonly string[]): void {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      serve(socket, anchorsPem).catch((error: unknown) => {
        deps.log.error("enrolment failed", { error });
        socket.destroy();
      });
    },
    close(): void {
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** A token bucket for each address; the address unused for longest is forgotten first. */
function createLimiter(clock: Clock) {
  const bucketByAddress = new Map<string, { tokens: number; atMs: number }>();
  return {
    take(address: string): boolean {
      const nowMs = clock.monotonicMs();
      const bucket = bucketByAddress.get(address) ?? { tokens: burst, atMs: nowMs };
      bucketByAddress.delete(address);
      bucketByAddress.set(address, bucket);
      const [oldest] = bucketByAddress.keys();
      if (bucketByAddress.size > addressesMax && oldest !== undefined)
        bucketByAddress.delete(oldest);
      bucket.tokens = Math.min(burst, bucket.tokens + (nowMs - bucket.atMs) / refillMs);
      bucket.atMs = nowMs;
      if (bucket.tokens < 1) return false;
      bucket.tokens--;
      return true;
    },
  };
}
