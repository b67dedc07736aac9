/** From a message to everybody who subscribed to its topic. */
import type { Qos } from "./codec.ts";
import type { Message, Outgoing } from "./message.ts";
import type { Retained } from "./retained.ts";
import type { Session } from "./session.ts";
import type { Group, Subscription, Subscriptions } from "./subscriptions.ts";

export type Routed = {
  readonly subscribers: number;
  /** Resolves when all of it that is to outlive the agent will; absent where nothing is. */
  readonly durable?: Promise<unknown> | undefined;
};

export interface Router {
  /** Keeps it where it asks to be kept, and gives it to its subscribers. */
  route(message: Message): Routed;
}

export function createRouter(deps: {
  readonly subscriptions: Subscriptions<Session>;
  readonly retained: Retained;
  readonly onRetainedFull: () => void;
  /** Writes down what is kept, where that is done. */
  readonly saveRetained?: ((message: Message) => Promise<void>) | undefined;
}): Router {
  const { subscriptions, retained } = deps;
  return {
    route(given) {
      const { plain, groups } = subscriptions.match(given.topic);
      const isKept = given.qos > 0 && plain.length + groups.length > 0;
      const message = isKept ? { ...given, payload: ownBytes(given.payload) } : given;
      const writes: Promise<void>[] = [];
      if (message.retain) {
        if (retained.keep(message) === "full") deps.onRetainedFull();
        else if (deps.saveRetained) writes.push(deps.saveRetained(message));
      }
      const deliver = (to: Session, wanted: readonly Subscription[]) => {
        const durable = to.deliver(outgoingFor(message, wanted));
        if (durable) writes.push(durable);
      };
      let subscribers = 0;
      for (const { subscriber, subscriptions: all } of plain) {
        const wanted = subscriber.id === message.from ? all.filter(({ noLocal }) => !noLocal) : all;
        if (wanted.length === 0) continue;
        subscribers++;
        deliver(subscriber, wanted);
      }
      for (const group of groups) {
        const [member, subscription] = nextOf(group) ?? [];
        if (!member || !subscription) continue;
        subscribers++;
        deliver(member, [subscription]);
      }
      if (writes.length === 0) return { subscribers };
      return { subscribers, durable: writes.length === 1 ? writes[0] : Promise.all(writes) };
    },
  };
}

/** Several subscriptions that match are answered with one message at the highest QoS (MQTT 5, section 3.3.4). */
function outgoingFor(message: Message, wanted: readonly Subscription[]): Outgoing {
  let [granted, retain] = [0, false];
  let identifiers: number[] | undefined;
  for (const { qos, retainAsPublished, identifier } of wanted) {
    granted = Math.max(granted, qos);
    retain ||= retainAsPublished && message.retain;
    if (identifier !== undefined) (identifiers ??= []).push(identifier);
  }
  const qos = Math.min(message.qos, granted) as Qos;
  return { message, qos, retain, ...(identifiers ? { identifiers } : {}) };
}

/** The next in turn that reads; where none does, the next one that will be back. */
function nextOf(group: Group<Session>): [Session, Subscription] | undefined {
  const members = [...group.members];
  group.turn = (group.turn + 1) % Math.max(1, members.length);
  const inTurn = [...members.slice(group.turn), ...members.slice(0, group.turn)];
  return (
    inTurn.find(([{ link }]) => link && !link.isFull) ??
    inTurn.find(([{ link }]) => link) ??
    inTurn[0]
  );
}

/** Out of the chunk they arrived in, which they would otherwise keep alive. */
const ownBytes = (bytes: Buffer) =>
  bytes.length * 2 < bytes.buffer.byteLength ? Buffer.from(bytes) : bytes;
