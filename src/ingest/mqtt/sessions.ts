/**
 * The sessions by client identifier: who has which, what becomes of one whose connection ended, and
 * when its will is published (MQTT 5, section 3.1.2.5). An identifier belongs to the identity whose
 * session it is.
 */
import type { Clock } from "../../lib/clock.ts";
import type { SavedState, SessionKey } from "../mqtt-state/index.ts";
import { restoredMessage, type Journal } from "./journal.ts";
import { sessionsMax } from "./limits.ts";
import type { Session } from "./session.ts";
import type { HeldWill, Will, Wills } from "./wills.ts";

export type OpenSession = {
  readonly clientId: string;
  readonly owner: string;
  /** Begin anew, whatever there is. */
  readonly clean: boolean;
  /** How long the session outlives its connection; 0: not at all. */
  readonly expirySeconds: number;
  readonly will: Will | undefined;
  /** Another connection took the identifier over: this one ends. */
  readonly onTakenOver: () => void;
};

export type Opened =
  | { readonly state: "opened"; readonly held: HeldSession; readonly isPresent: boolean }
  | { readonly state: "foreign" | "full" };

/** A session as its connection has it. */
export interface HeldSession {
  readonly session: Session;
  /** MQTT 5 may change it with DISCONNECT. */
  expirySeconds: number;
  /** A DISCONNECT that wants none published. */
  forgetWill(): void;
  /** For a session that outlives the agent. */
  readonly key: SessionKey | undefined;
  /** Writes the session and its will down, where that is done: durable when it resolves. */
  save(): Promise<void> | undefined;
  /** The connection ended. Does nothing once another one has the session. */
  close(): void;
}

export interface Sessions {
  open(options: OpenSession): Opened;
  /** What was kept over a restart: as if their connections had ended now. */
  restore(saved: SavedState): void;
  /** Ends sessions and publishes wills whose time has come. */
  sweep(nowMs: number): void;
  readonly size: number;
}

type Entry = {
  readonly session: Session;
  readonly key: SessionKey | undefined;
  holder:
    | (HeldSession & { will: HeldWill | undefined; readonly onTakenOver: () => void })
    | undefined;
  expirySeconds: number;
  /** Of a connection that broke. */
  will: { readonly held: HeldWill; readonly atMs: number } | undefined;
  expiresAtMs: number;
};

export function createSessions(deps: {
  readonly clock: Clock;
  readonly create: (
    identity: { id: string; owner: string },
    key: SessionKey | undefined,
  ) => Session;
  /** Absent: sessions are kept in memory only. */
  readonly journal: Journal | undefined;
  readonly onRestored: (session: Session) => void;
  readonly onEnded: (session: Session) => void;
  readonly wills: Wills;
}): Sessions {
  const { clock, journal, wills } = deps;
  const entryById = new Map<string, Entry>();

  const publishWill = (entry: Entry) => {
    const { will } = entry;
    entry.will = undefined;
    will?.held.publish();
  };
  const end = (entry: Entry) => {
    entryById.delete(entry.session.id);
    publishWill(entry);
    deps.onEnded(entry.session);
    entry.session.end();
    if (entry.key !== undefined) journal?.ended(entry.key);
  };
  const save = ({ session, key, holder, expirySeconds }: Entry): Promise<void> | undefined =>
    key === undefined
      ? undefined
      : journal?.session({
          key,
          id: session.id,
          owner: session.owner,
          expirySeconds: holder?.expirySeconds ?? expirySeconds,
          subscriptions: [...session.subscriptionByText.values()],
        });
  /** The connection is gone, by itself or because another one took over. */
  const release = (entry: Entry) => {
    const { holder } = entry;
    if (!holder) return;
    entry.holder = undefined;
    entry.session.detach();
    entry.expirySeconds = holder.expirySeconds;
    const nowMs = clock.monotonicMs();
    entry.expiresAtMs = nowMs + holder.expirySeconds * 1000;
    const { will } = holder;
    entry.will = will && { held: will, atMs: nowMs + will.delaySeconds * 1000 };
    if (entry.will && entry.will.atMs <= nowMs) publishWill(entry);
    if (holder.expirySeconds === 0) end(entry);
  };
  const isFull = (owner: string) => {
    let [all, own] = [0, 0];
    for (const entry of entryById.values()) {
      if (!isKept(entry)) continue;
      all++;
      if (entry.session.owner === owner) own++;
    }
    return all >= sessionsMax || own >= sessionsMax / 4;
  };

  return {
    open({ clientId, owner, clean, expirySeconds, will, onTakenOver }) {
      const known = entryById.get(clientId);
      if (known && known.session.owner !== owner) return { state: "foreign" };
      const isAnotherKept = expirySeconds > 0 && !(known && isKept(known));
      if (isAnotherKept && isFull(owner)) return { state: "full" };
      if (known?.holder) {
        known.holder.onTakenOver();
        release(known);
      }
      // A session that ends with its connection has ended by now.
      const left = entryById.get(clientId);
      if (left && clean) end(left);
      const isPresent = left !== undefined && !clean;
      const client = { id: clientId, owner };
      const key = expirySeconds > 0 ? journal?.newKey() : undefined;
      const entry: Entry = isPresent
        ? left
        : {
            session: deps.create(client, key),
            key,
            holder: undefined,
            expirySeconds,
            will: undefined,
            expiresAtMs: 0,
          };
      // It is back in time.
      entry.will?.held.forget();
      entry.will = undefined;
      wills.isBack(client);
      const heldWill = will && wills.hold(client, will);
      const held = {
        session: entry.session,
        expirySeconds,
        will: heldWill,
        onTakenOver,
        key: entry.key,
        forgetWill() {
          held.will?.forget();
          held.will = undefined;
        },
        save: () => both(save(entry), heldWill?.written),
        close: () => {
          if (entry.holder === held) release(entry);
        },
      };
      entry.holder = held;
      entryById.set(clientId, entry);
      return { state: "opened", held, isPresent };
    },
    restore({ sessions, flights, received }) {
      const nowMs = clock.monotonicMs();
      const entryByKey = new Map<SessionKey, Entry>();
      for (const { key, id, owner, expirySeconds, subscriptions } of sessions) {
        const session = deps.create({ id, owner }, key);
        for (const one of subscriptions) session.subscriptionByText.set(one.text, one);
        const expiresAtMs = nowMs + expirySeconds * 1000;
        const entry: Entry = {
          ...{ session, key, expirySeconds, expiresAtMs },
          ...{ holder: undefined, will: undefined },
        };
        entryById.set(id, entry);
        entryByKey.set(key, entry);
        deps.onRestored(session);
      }
      for (const { session, messageId } of received)
        entryByKey.get(session)?.session.received.set(messageId, true);
      for (const [key, own] of Map.groupBy(flights, ({ session }) => session)) {
        entryByKey.get(key)?.session.restore(
          own.map(({ message, payload, qos, retain, identifiers, ...flight }) => ({
            ...flight,
            outgoing: {
              ...{ message: restoredMessage(message, payload, clock), qos, retain },
              ...(identifiers ? { identifiers } : {}),
            },
          })),
        );
      }
    },
    sweep(nowMs) {
      for (const entry of entryById.values()) {
        if (entry.holder) continue;
        if (entry.will && entry.will.atMs <= nowMs) publishWill(entry);
        if (entry.expiresAtMs <= nowMs) end(entry);
      }
    },
    get size() {
      return entryById.size;
    },
  };
}

/** Whether it is to outlive its connection, or does. */
const isKept = (entry: Entry): boolean => (entry.holder ?? entry).expirySeconds > 0;

/** Undefined where neither has anything to wait for. */
const both = (
  one: Promise<void> | undefined,
  other: Promise<void> | undefined,
): Promise<void> | undefined =>
  one && other ? Promise.all([one, other]).then(() => undefined) : (one ?? other);
