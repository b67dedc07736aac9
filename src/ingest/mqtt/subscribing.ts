/** SUBSCRIBE and UNSUBSCRIBE: each filter is answered by itself, refusals are counted. */
import { encode } from "./answers.ts";
import type { ProtocolVersion, Subscribe, Unsubscribe } from "./codec.ts";
import { subscriptionsMax } from "./limits.ts";
import { reason } from "./reason-codes.ts";
import type { Retained } from "./retained.ts";
import type { Session } from "./session.ts";
import type { Subscription, Subscriptions } from "./subscriptions.ts";
import { parseFilter } from "./topics.ts";

/** Where answers go: once what they say is written down, where that is done. */
type Answers = { write(bytes: Buffer): void; afterSaved(then: () => void): void };

export interface Subscribing {
  subscribe(session: Session, packet: Subscribe, version: ProtocolVersion, to: Answers): void;
  unsubscribe(session: Session, packet: Unsubscribe, version: ProtocolVersion, to: Answers): void;
  /** What a session was subscribed to before a restart. */
  restore(session: Session): void;
  /** The session ended. */
  forget(session: Session): void;
}

type Asked = Subscribe["subscriptions"][number];

export function createSubscribing(deps: {
  readonly subscriptions: Subscriptions<Session>;
  readonly retained: Retained;
  readonly onRefused: () => void;
}): Subscribing {
  const { subscriptions, retained } = deps;

  /** The code of the SUBACK, and whether the client did not have the subscription before. */
  const add = (session: Session, asked: Asked, identifier: number | undefined) => {
    const { subscriptionByText } = session;
    const parsed = parseFilter(asked.topic);
    const refusal = !parsed.ok
      ? reason.filterInvalid
      : parsed.value.group !== undefined && asked.nl
        ? reason.protocolError
        : !subscriptionByText.has(asked.topic) && subscriptionByText.size >= subscriptionsMax
          ? reason.quotaExceeded
          : undefined;
    if (!parsed.ok || refusal !== undefined) {
      deps.onRefused();
      return { code: refusal ?? reason.unspecified, isNew: false, filter: undefined };
    }
    const subscription: Subscription = {
      text: asked.topic,
      qos: asked.qos,
      noLocal: asked.nl ?? false,
      retainAsPublished: asked.rap ?? false,
      ...(identifier === undefined ? {} : { identifier }),
    };
    subscriptionByText.set(asked.topic, subscription);
    const isNew = subscriptions.add(session, subscription);
    // A shared subscription gets no retained messages (MQTT 5, section 4.8.2).
    const filter = parsed.value.group === undefined ? parsed.value.filter : undefined;
    return { code: asked.qos, isNew, filter };
  };

  return {
    subscribe(session, packet, version, to) {
      const { identifier, messageId } = packet;
      const answers = packet.subscriptions.map((asked) => ({
        asked,
        ...add(session, asked, identifier),
      }));
      const granted = answers.map(({ code }) =>
        code < 0x80 || version === 5 ? code : reason.unspecified,
      );
      to.afterSaved(() => {
        to.write(encode(version, { cmd: "suback", messageId, granted }));
        for (const { asked, isNew, filter } of answers) {
          const handling = version === 5 ? (asked.rh ?? 0) : 0;
          if (filter === undefined || handling === 2 || (handling === 1 && !isNew)) continue;
          const { qos } = asked;
          const topics = retained.topics(filter);
          if (topics.length === 0) continue;
          const more = identifier === undefined ? {} : { identifiers: [identifier] };
          session.deliverRetained(topics.map((topic) => ({ topic, qos, ...more })));
        }
      });
    },
    unsubscribe(session, { messageId, unsubscriptions }, version, to) {
      const granted = unsubscriptions.map((text) => {
        if (!session.subscriptionByText.delete(text)) return reason.noSubscriptionExisted;
        subscriptions.remove(session, text);
        return reason.success;
      });
      to.afterSaved(() => to.write(encode(version, { cmd: "unsuback", messageId, granted })));
    },
    restore(session) {
      for (const one of session.subscriptionByText.values()) subscriptions.add(session, one);
    },
    forget(session) {
      for (const text of session.subscriptionByText.keys()) subscriptions.remove(session, text);
      session.subscriptionByText.clear();
    },
  };
}
