/**
 * Leases: renewals of all of them over one stream, which is opened at another member when it breaks
 * or does not answer. A broken stream is no lost lease; lost is what the ledger says is lost, or what
 * its holder could not renew in time by its own clock.
 */
import { createBackoff } from "../../lib/backoff.ts";
import type { Timer } from "../../lib/clock.ts";
import { checkTtl, leaseNotFound, unavailable } from "../checks.ts";
import type { LeaseId, Ledger } from "../ledger.ts";
import type { EtcdStream } from "./client/connection.ts";
import * as wire from "./client/messages.ts";
import type { InputOf, OutputOf } from "./client/wire.ts";
import { EtcdFailure } from "./client/outcome.ts";
import { contractErrors, type Core } from "./core.ts";
import { leaseNumber } from "./prepare.ts";

type KeepAlive = EtcdStream<
  InputOf<typeof wire.leaseRequest>,
  OutputOf<typeof wire.leaseGrantResponse>
>;
type Waiting = { settle: (ttlSeconds: number | Error) => void };

export function createLeases(
  core: Core,
): Pick<Ledger, "grant" | "renew" | "revoke"> & { close(): void } {
  const { client, deps } = core;
  const { clock, log, random } = deps;
  let opening: Promise<KeepAlive> | undefined;
  let stream: KeepAlive | undefined;
  /** Answers come in the order of the requests, and name their lease. */
  const waitingByLease = new Map<bigint, Waiting[]>();

  const failAll = (error: Error) => {
    const all = [...waitingByLease.values()].flat();
    waitingByLease.clear();
    for (const { settle } of all) settle(error);
  };

  const read = async (from: KeepAlive) => {
    try {
      for await (const { id, ttl } of from.messages) {
        const queue = waitingByLease.get(id);
        queue?.shift()?.settle(ttl);
        if (queue?.length === 0) waitingByLease.delete(id);
      }
      throw new Error("the member ended the stream of renewals");
    } catch (error) {
      if (stream !== from) return;
      drop(from, error instanceof Error ? error : new Error(String(error)));
    }
  };

  const drop = (broken: KeepAlive, error: Error) => {
    if (stream !== broken) return;
    stream = undefined;
    broken.cancel();
    if (core.closed.aborted) return;
    client.failed(broken.member);
    log.debug("the stream of renewals broke", { member: broken.member, error });
    failAll(error);
  };

  const opened = (timeoutMs: number): Promise<KeepAlive> => {
    if (stream) return Promise.resolve(stream);
    opening ??= client
      .stream(wire.leaseKeepAlive, { timeoutMs, signal: core.closed })
      .then((made) => {
        stream = made;
        void read(made);
        return made;
      })
      .finally(() => {
        opening = undefined;
      });
    return opening;
  };

  /** One request and its answer, in seconds; 0: there is no such lease. */
  const renewOnce = async (id: bigint, timeoutMs: number): Promise<number> => {
    const through = await opened(timeoutMs);
    return await new Promise<number>((resolve, reject) => {
      const settle = (result: number | Error) => {
        timer.cancel();
        if (typeof result === "number") resolve(result);
        else reject(result);
      };
      const timer: Timer = clock.after(timeoutMs, () =>
        drop(through, new Error(`no renewal was answered within ${Math.round(timeoutMs)} ms`)),
      );
      const queue = waitingByLease.get(id) ?? [];
      waitingByLease.set(id, queue);
      queue.push({ settle });
      through.send({ id });
    });
  };

  const idOf = (lease: LeaseId): bigint => {
    const id = leaseNumber(lease);
    if (id === undefined) throw leaseNotFound(lease);
    return id;
  };

  return {
    async grant(ttlMs) {
      core.assertOpen();
      checkTtl(ttlMs);
      const id = randomLease(random.bytes(8));
      const ttl = Math.ceil(ttlMs / 1000);
      const granted = await contractErrors(
        client
          .ask(wire.leaseGrant, { ttl, id }, { timeoutMs: core.timeoutMs, signal: core.closed })
          .catch(async (error: unknown) => {
            // Random ids do not meet: an earlier attempt of this very call was applied.
            if (!(error instanceof EtcdFailure && /already exists/.test(error.details)))
              throw error;
            const known = await client.ask(
              wire.leaseTimeToLive,
              { id },
              { timeoutMs: core.timeoutMs, signal: core.closed },
            );
            return { ttl: known.grantedTtl };
          }),
      );
      return { lease: String(id) as LeaseId, ttlMs: granted.ttl * 1000 };
    },

    async renew(lease) {
      core.assertOpen();
      const id = idOf(lease);
      const untilMs = clock.monotonicMs() + core.timeoutMs;
      const backoff = createBackoff(deps, { initialMs: 20, maxMs: 250 });
      for (let attempt = 0; ; attempt++) {
        const leftMs = untilMs - clock.monotonicMs();
        try {
          const ttl = await renewOnce(id, Math.max(1, client.attemptMs(attempt, leftMs)));
          if (ttl <= 0) throw leaseNotFound(lease);
          return { ttlMs: ttl * 1000 };
        } catch (error) {
          core.assertOpen();
          if (isLeaseGone(error)) throw leaseNotFound(lease);
          const pauseMs = backoff.nextMs();
          if (error instanceof Error && "retryable" in error && error.retryable === false)
            throw error;
          if (clock.monotonicMs() + pauseMs >= untilMs)
            throw unavailable(`lease ${lease} could not be renewed`, error);
          await clock.sleep(pauseMs, { signal: core.closed });
        }
      }
    },

    async revoke(lease) {
      core.assertOpen();
      const id = leaseNumber(lease);
      if (id === undefined) return;
      await contractErrors(
        client
          .ask(wire.leaseRevoke, { id }, { timeoutMs: core.timeoutMs, signal: core.closed })
          .catch((error: unknown) => {
            if (!isLeaseGone(error)) throw error;
          }),
      );
    },

    close() {
      const open = stream;
      stream = undefined;
      open?.cancel();
      failAll(unavailable("the ledger was closed"));
    },
  };
}

const isLeaseGone = (error: unknown) =>
  error instanceof EtcdFailure && /lease not found/.test(error.details);

function randomLease(bytes: Uint8Array): bigint {
  const id = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0) >> 1n;
  return id === 0n ? 1n : id;
}
