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

/** A QoS 1 or 2 message for the client. */
export type Flight = {
  /** Order within the session. */
  readonly sequence: number;
  readonly messageId: number;
  readonly outgoing: Outgoing;
};
/** On its way: a message, or (QoS 2, after PUBREC) only its identifier. */
type Sent = Flight & { readonly state: "sent" | "released" };

/** Writes down what is on its way, for a session that outlives the agent. */
export type SessionJournal = {
  queued(flight: Flight): Promise<void>;
  released(sequence: number): Promise<void>;
  settled(sequence: number): void;
};

export type SessionDependencies = {
  readonly retained: Pick<Retained, "get">;
  /** What waits over all sessions. */
  readonly waiting: { bytes: number };
  readonly onDropped: (why: "dropped-for-slow-subscriber" | "dropped-queue-full") => void;
  /** Absent: the session ends with its connection, or is kept in memory only. */
  readonly journal?: SessionJournal | undefined;
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
  /** A promise: the message is to outlive the agent, and will once it resolves. */
  deliver(outgoing: Outgoing): Promise<void> | undefined;
  /** The retained messages of these topics, as there is room; each as it is when its turn comes. */
  deliverRetained(backlog: readonly Backlog[]): void;
  /** PUBACK or PUBCOMP, or PUBREC with a refusal. False: nothing of this identifier is on its way. */
  settle(messageId: number): boolean;
  /** PUBREC: PUBREL follows once it is written down. False: nothing of this identifier is on its way. */
  release(messageId: number): boolean;
  /** What was on its way before a restart, in its order. */
  restore(flights: readonly (Flight & { readonly isReleased: boolean })[]): void;
  /** There is room again. */
  pump(): void;
  /** Gives back what it holds. */
  end(): void;
}

export function createSession(
  identity: { readonly id: string; readonly owner: string },
  deps: SessionDependencies,
): Session {
  const { retained, waiting, onDropped, journal } = deps;
  const sentById = new Map<number, Sent>();
  const queue: (Flight & { readonly isResent?: boolean })[] = [];
  const queuedIds = new Set<number>();
  let queuedBytes = 0;
  let backlog: Backlog[] = [];
  let link: Link | undefined;
  let sequence = 0;

  const identifierOf = (at: number) => ((at - 1) % 65_535) + 1;
  /** Follows from the sequence, so that it is the same after a restart (MQTT 5, section 4.4). */
  const nextFlight = (outgoing: Outgoing): Flight => {
    do sequence++;
    while (sentById.has(identifierOf(sequence)) || queuedIds.has(identifierOf(sequence)));
    return { sequence, messageId: identifierOf(sequence), outgoing };
  };
  const setQueued = (bytes: number) => {
    waiting.bytes += bytes - queuedBytes;
    queuedBytes = bytes;
  };
  const send = (to: Link, flight: Flight, isAgain = false) => {
    sentById.set(flight.messageId, { ...flight, state: "sent" });
    if (to.publish(flight.outgoing, flight.messageId, isAgain)) return;
    sentById.delete(flight.messageId);
    journal?.settled(flight.sequence);
  };
  const sendRetained = (to: Link, outgoing: Outgoing) => {
    if (outgoing.qos === 0) to.publish(outgoing, 0, false);
    else send(to, nextFlight(outgoing));
  };
  const hasPlace = (cost: number) =>
    queue.length < queuedMessagesMax &&
    queuedBytes + cost <= queuedBytesMax &&
    waiting.bytes + cost <= queuedBytesTotalMax;
  const enqueue = (flight: Flight, isResent = false) => {
    queue.push({ ...flight, isResent });
    queuedIds.add(flight.messageId);
    setQueued(queuedBytes + costOf(flight.outgoing));
  };
  const hasRoom = (to: Link) => !to.isFull && sentById.size < to.window;

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
  const nextQueued = () => {
    const next = queue.shift();
    if (!next) return undefined;
    queuedIds.delete(next.messageId);
    setQueued(queuedBytes - costOf(next.outgoing));
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
      return queue.length + sentById.size;
    },
    attach(to) {
      link = to;
      for (const flight of [...sentById.values()])
        if (flight.state === "released") to.release(flight.messageId);
        else send(to, flight, true);
      session.pump();
    },
    detach() {
      link = undefined;
    },
    deliver(outgoing) {
      if (outgoing.qos === 0) {
        if (link?.isFull) onDropped("dropped-for-slow-subscriber");
        else link?.publish(outgoing, 0, false);
        return undefined;
      }
      const isNext = link && queue.length === 0 && backlog.length === 0 && hasRoom(link);
      if (!isNext && !hasPlace(costOf(outgoing))) {
        onDropped(link ? "dropped-for-slow-subscriber" : "dropped-queue-full");
        return undefined;
      }
      const flight = nextFlight(outgoing);
      const durable = journal?.queued(flight);
      if (link && isNext) send(link, flight);
      else enqueue(flight);
      return durable;
    },
    deliverRetained(more) {
      const topics = new Set(more.map(({ topic }) => topic));
      // One that is asked for again comes once.
      backlog = [...backlog.filter(({ topic }) => !topics.has(topic)), ...more];
      session.pump();
    },
    settle(messageId) {
      const sent = sentById.get(messageId);
      if (!sent) return false;
      sentById.delete(messageId);
      journal?.settled(sent.sequence);
      session.pump();
      return true;
    },
    release(messageId) {
      const sent = sentById.get(messageId);
      if (!sent) return false;
      sentById.set(messageId, { ...sent, state: "released" });
      const to = link;
      // Before it is known for good the message would be sent once more after a restart, and be
      // another one for a client that has released it. What cannot be written down waits for the
      // client's next connection.
      if (!journal) to?.release(messageId);
      else
        void journal.released(sent.sequence).then(
          () => to === link && to?.release(messageId),
          () => undefined,
        );
      return true;
    },
    restore(flights) {
      for (const { isReleased, ...flight } of flights) {
        sequence = Math.max(sequence, flight.sequence);
        if (isReleased) sentById.set(flight.messageId, { ...flight, state: "released" });
        else enqueue(flight, true);
      }
    },
    pump() {
      if (!link) return;
      while (hasRoom(link)) {
        const next = nextRetained();
        if (next) {
          sendRetained(link, next);
          continue;
        }
        const flight = nextQueued();
        if (!flight) return;
        send(link, flight, flight.isResent);
      }
    },
    end() {
      link = undefined;
      setQueued(0);
      [queue.length, backlog] = [0, []];
      queuedIds.clear();
      sentById.clear();
    },
  };
  return session;
}
