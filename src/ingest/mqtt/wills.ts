/**
 * Wills: written down while their clients are connected, so that a client which is gone when the agent
 * is back is missed too; published at least once (MQTT 5, section 3.1.2.5).
 */
import type { Clock } from "../../lib/clock.ts";
import type { SavedState, WillKey } from "../mqtt-state/index.ts";
import { restoredMessage, savedMessage, type Journal } from "./journal.ts";
import { returnSecondsMin } from "./limits.ts";
import type { Message } from "./message.ts";

export type Will = {
  readonly message: Message;
  readonly delaySeconds: number;
  /** How long its message is worth delivering, from its publication on. */
  readonly expirySeconds?: number;
};

/** A client and the identity that it belongs to. */
export type Client = { readonly id: string; readonly owner: string };

/** A will in force: it is published or forgotten, once. */
export interface HeldWill {
  readonly delaySeconds: number;
  /** Outlives the agent from then on; never rejects: what cannot be written down still holds until then. */
  readonly written: Promise<void> | undefined;
  publish(): void;
  forget(): void;
}

export interface Wills {
  hold(client: Client, will: Will): HeldWill;
  /** Those of clients that were connected when the agent ended: each is given time to come back. */
  restore(saved: Pick<SavedState, "wills" | "sessions">): void;
  /** The client is back: what a restart left of it is not published. */
  isBack(client: Client): void;
  sweep(nowMs: number): void;
  /** Nothing is published from now on, and what is written down stays. */
  quiet(): void;
}

export function createWills(deps: {
  readonly clock: Clock;
  /** Absent: wills are kept in memory only. */
  readonly journal: Journal | undefined;
  /** Resolves when it was published, or will never be. */
  readonly publish: (message: Message, client: Client) => Promise<void>;
}): Wills {
  const { clock, journal } = deps;
  /** Of clients that a restart cut off. */
  const lost = new Set<{
    readonly client: Client;
    readonly held: HeldWill;
    readonly atMs: number;
  }>();
  let isQuiet = false;

  const held = (
    client: Client,
    { message, delaySeconds, expirySeconds }: Will,
    key: WillKey | undefined,
    written?: Promise<void>,
  ): HeldWill => {
    const forget = () => {
      if (key !== undefined && !isQuiet) journal?.willEnded(key);
    };
    return {
      delaySeconds,
      written,
      forget,
      publish() {
        if (isQuiet) return;
        const expiry =
          expirySeconds === undefined
            ? {}
            : { expiresAtMs: clock.monotonicMs() + expirySeconds * 1000 };
        void deps.publish({ ...message, ...expiry }, client).then(forget);
      },
    };
  };

  return {
    hold(client, will) {
      if (!journal) return held(client, will, undefined);
      const key = journal.newKey();
      const { message, ...times } = will;
      const written = journal
        .will({ key, ...client, ...times, message: savedMessage(message, clock) }, message.payload)
        .catch(() => {});
      return held(client, will, key, written);
    },
    restore({ wills, sessions }) {
      const nowMs = clock.monotonicMs();
      const expiryById = new Map(sessions.map(({ id, expirySeconds }) => [id, expirySeconds]));
      for (const { key, id, owner, message, payload, ...times } of wills) {
        const client = { id, owner };
        const will = { ...times, message: restoredMessage(message, payload, clock) };
        // With its session at the latest, but not before its client could come back.
        const seconds = Math.min(times.delaySeconds, expiryById.get(id) ?? 0);
        const atMs = nowMs + Math.max(seconds, returnSecondsMin) * 1000;
        lost.add({ client, held: held(client, will, key), atMs });
      }
    },
    isBack({ id, owner }) {
      for (const one of lost) {
        if (one.client.id !== id || one.client.owner !== owner) continue;
        lost.delete(one);
        one.held.forget();
      }
    },
    sweep(nowMs) {
      for (const one of lost) {
        if (one.atMs > nowMs) continue;
        lost.delete(one);
        one.held.publish();
      }
    },
    quiet() {
      isQuiet = true;
    },
  };
}
