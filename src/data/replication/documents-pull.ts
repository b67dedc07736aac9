/**
 * Documents from the hub: a node asks for what its store lacks of the hub's logs for this cell, and is
 * answered when there is something. Pieces go into the store like another node's, and from there to
 * the other nodes; so one uplink is enough, and reading never waits for the hub. The hub writes
 * collections that the cell reads from it, and no others.
 */
import { createBackoff } from "../../lib/backoff.ts";
import { deadline, type Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import { decodeOperations } from "../documents/codec.ts";
import { hubOriginPrefix } from "../global/published.ts";
import type { DocumentHub } from "../ports.ts";
import type { ReplicatedStore } from "./replicated.ts";

export interface DocumentsPull {
  /** Collections that this cell reads from the hub. */
  declare(collections: readonly string[]): void;
  /** Asks over this hub connection until it closes; a newer one replaces it. */
  attach(hub: Pick<DocumentHub<never>, "pull">, closed: AbortSignal): void;
  stop(): void;
}

/** The hub answers within 10 s, with nothing if need be. */
const answerMsMax = 30_000;

export function createDocumentsPull(deps: {
  readonly store: Pick<ReplicatedStore, "vector" | "apply">;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}): DocumentsPull {
  const { store, clock, random, log } = deps;
  let wanted: readonly string[] = [];
  let attached: { hub: Pick<DocumentHub<never>, "pull">; closed: AbortSignal } | undefined;
  let current: AbortController | undefined;

  const ask = async (hub: Pick<DocumentHub<never>, "pull">, signal: AbortSignal) => {
    const collections = wanted;
    const vector = Object.fromEntries(
      Object.entries(await store.vector()).filter(([origin]) => origin.startsWith(hubOriginPrefix)),
    );
    const reason = () =>
      new SkerryError({ code: "hub-silent", message: "the hub did not answer", retryable: true });
    const limit = deadline(clock, answerMsMax, { parent: signal, reason });
    try {
      const bytes = await hub.pull({ collections, vector }, { signal: limit.signal });
      if (bytes.length === 0) return;
      const { origin, operations } = decodeOperations(bytes);
      const foreign = operations
        .flatMap(({ writes }) => writes)
        .find(({ collection }) => !collections.includes(collection));
      if (foreign || !origin.startsWith(hubOriginPrefix)) {
        throw new SkerryError({
          code: "invalid-batch",
          message: `the hub sent what this cell does not read from it: ${foreign?.collection ?? origin}`,
          hint: "nothing of it was stored",
        });
      }
      await store.apply(bytes);
    } finally {
      limit.done();
    }
  };
  const run = async (hub: Pick<DocumentHub<never>, "pull">, signal: AbortSignal) => {
    const backoff = createBackoff({ random }, { initialMs: 500, maxMs: 15_000 });
    while (!signal.aborted) {
      try {
        await ask(hub, signal);
        backoff.reset();
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof SkerryError && error.code === "unknown-method")
          log.debug("the hub gives no documents", { error });
        else log.warn("documents of the hub were not taken; it is tried again", { error });
        await clock.sleep(backoff.nextMs(), { signal }).catch(() => undefined);
      }
    }
  };
  const restart = () => {
    current?.abort();
    current = undefined;
    if (!attached || attached.closed.aborted || wanted.length === 0) return;
    const { hub, closed } = attached;
    const controller = new AbortController();
    current = controller;
    const end = () => controller.abort();
    closed.addEventListener("abort", end, { once: true });
    controller.signal.addEventListener("abort", () => closed.removeEventListener("abort", end));
    void run(hub, controller.signal);
  };

  return {
    declare(collections) {
      const isSame =
        collections.length === wanted.length && collections.every((name) => wanted.includes(name));
      wanted = [...collections];
      if (!isSame) restart();
    },
    attach(hub, closed) {
      attached = { hub, closed };
      restart();
    },
    stop: () => current?.abort(),
  };
}
