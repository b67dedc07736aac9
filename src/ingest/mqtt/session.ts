/**
 * What the broker keeps for one client identifier: its subscriptions, the QoS 1 and 2 messages on
 * their way to it, and those that wait. Everything is bounded; a message that finds no room is dropped
 * and counted, so that no writer waits for a reader.
 */
import type { Qos } from "./codec.ts";
import { queuedBytesMax, queuedBytesTotalMax, queuedMessagesMax } from "./limits.ts";
import { costOf, type Outgoing } from "./message.ts";
import type { Retained } from "./retained.ts";
import type { Subscription } from "./subscriptions.ts";

/** The connection that a session has now. */
export type Link = {
  /** More is unread than a reader that reads would leave. */
  readonly isFull: boolean;
  /** QoS 1 and 2 messages that may be on their way. */
  readonly window: number;
  /** False: it can never be sent (too large for the client, or expired). */
  publish(outgoing: Outgoing, messageId: number, dup: boolean): boolean;
  release(messageId: number): void;
};

/** On its way: a message, or (QoS 2, after PUBREC) only its identifier. */
type Flight =
  | { readonly state: "sent"; readonly outgoing: Outgoing }
  | { readonly state: "released" };

export type SessionDependencies = {
  readonly retained: Pick<Retained, "get">;
  /** What waits over all sessions. */
  readonly waiting: { bytes: number };
  readonly onDropped: (why: "dropped-for-slow-subscriber" | "dropped-queue-full") => void;
};

type Backlog = {
  readonly topic: string;
  readonly qos: Qos;
  readonly identifiers?: readonly number[];
};

export interface Session {
  readonly id: string;
  /** The identity that it belongs to. */
  readonly owner: string;
  readonly subscriptionByText: Map<string, Subscription>;
  /** QoS 2 messages received and not released: true once PUBREC was sent. */
  readonly received: Map<number, boolean>;
  readonly link: Link | undefined;
  /** Messages wait that the client has not acknowledged. */
  readonly waitingCount: number;
  /** A connection of the client: what was on its way is sent again, and what waits follows. */
  attach(link: Link): void;
  detach(): void;
  deliver(outgoing: Outgoing): void;
  /** The retained messages of these topics, as there is room; each as it is when its turn comes. */
  deliverRetained(backlog: readonly Backlog[]): void;
  /** PUBACK or PUBCOMP, or PUBREC with a refusal. False: nothing of this identifier is on its way. */
  settle(messageId: number): boolean;
  /** PUBREC. */
  release(messageId: number): boolean;
  /** There is room again. */
  pump(): void;
  /** Gives back what it holds. */
  end(): void;
}

export function createSession(
  identity: { readonly id: string; readonly owner: string },
  deps: SessionDependencies,
): Session {
  const { retained, waiting, onDropped } = deps;
  const flightById = new Map<number, Flight>();
  const queue: Outgoing[] = [];
  let queuedBytes = 0;
  let backlog: Backlog[] = [];
  let link: Link | undefined;
  let lastId = 0;

  const nextId = () => {
    do lastId = (lastId % 65_535) + 1;
    while (flightById.has(lastId));
    return lastId;
  };
  const setQueued = (bytes: number) => {
    waiting.bytes += bytes - queuedBytes;
    queuedBytes = bytes;
  };
  const send = (to: Link, outgoing: Outgoing) => {
    if (outgoing.qos === 0) return void to.publish(outgoing, 0, false);
    const messageId = nextId();
    flightById.set(messageId, { state: "sent", outgoing });
    if (!to.publish(outgoing, messageId, false)) flightById.delete(messageId);
  };
  const enqueue = (outgoing: Outgoing) => {
    const cost = costOf(outgoing);
    if (
      queue.length >= queuedMessagesMax ||
      queuedBytes + cost > queuedBytesMax ||
      waiting.bytes + cost > queuedBytesTotalMax
    )
      return onDropped(link ? "dropped-for-slow-subscriber" : "dropped-queue-full");
    queue.push(outgoing);
    setQueued(queuedBytes + cost);
  };
  const hasRoom = (to: Link) => !to.isFull && flightById.size < to.window;

  const nextRetained = (): Outgoing | undefined => {
    for (let next = backlog.shift(); next; next = backlog.shift()) {
      const message = retained.get(next.topic);
      if (!message) continue;
      const { identifiers } = next;
      const qos = Math.min(next.qos, message.qos) as Qos;
      return { message, qos, retain: true, ...(identifiers ? { identifiers } : {}) };
    }
    return undefined;
  };
  const nextQueued = (): Outgoing | undefined => {
    const next = queue.shift();
    if (next) setQueued(queuedBytes - costOf(next));
    return next;
  };

  const session: Session = {
    ...identity,
    subscriptionByText: new Map(),
    received: new Map(),
    get link() {
      return link;
    },
    get waitingCount() {
      return queue.length + flightById.size;
    },
    attach(to) {
      link = to;
      for (const [messageId, flight] of flightById) {
        if (flight.state === "released") to.release(messageId);
        else if (!to.publish(flight.outgoing, messageId, true)) flightById.delete(messageId);
      }
      session.pump();
    },
    detach() {
      link = undefined;
    },
    deliver(outgoing) {
      if (outgoing.qos === 0) {
        if (!link) return;
        if (link.isFull) return onDropped("dropped-for-slow-subscriber");
        return send(link, outgoing);
      }
      if (link && queue.length === 0 && backlog.length === 0 && hasRoom(link)) send(link, outgoing);
      else enqueue(outgoing);
    },
    deliverRetained(more) {
      const topics = new Set(more.map(({ topic }) => topic));
      // One that is asked for again comes once.
      backlog = [...backlog.filter(({ topic }) => !topics.has(topic)), ...more];
      session.pump();
    },
    settle(messageId) {
      const known = flightById.delete(messageId);
      if (known) session.pump();
      return known;
    },
    release(messageId) {
      const flight = flightById.get(messageId);
      if (!flight) return false;
      flightById.set(messageId, { state: "released" });
      link?.release(messageId);
      return true;
    },
    pump() {
      if (!link) return;
      while (hasRoom(link)) {
        const next = nextRetained() ?? nextQueued();
        if (!next) return;
        send(link, next);
      }
    },
    end() {
      link = undefined;
      setQueued(0);
      [queue.length, backlog] = [0, []];
      flightById.clear();
    },
  };
  return session;
}
