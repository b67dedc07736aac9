/**
 * What a client publishes: into the store, to the subscribers, and then the acknowledgement, in the
 * order in which the messages came (MQTT 5, section 4.6). A message waits for the store alone; what
 * waits of one connection is bounded, and beyond it the connection is not read.
 */
import { formatDurabilityLevel } from "../../api/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Subject } from "../ports.ts";
import { encodeAcknowledgement } from "./answers.ts";
import type { ProtocolVersion, Publish } from "./codec.ts";
import { endingOf, endingOfMessage, invalidPacket, type Ending } from "./ending.ts";
import { halfOpenMax, topicAliasesMax, waitingCostMax } from "./limits.ts";
import type { Message } from "./message.ts";
import type { Published, PublishVerdict } from "./publish.ts";
import { publishReason, reason } from "./reason-codes.ts";
import type { Routed } from "./router.ts";
import type { Session } from "./session.ts";
import { topicProblem } from "./topics.ts";
import type { UnderWay } from "./under-way.ts";

export type InboundDependencies = {
  readonly log: Log;
  readonly publishing: (message: Published) => Promise<PublishVerdict>;
  readonly route: (message: Message) => Routed;
  readonly onOutcome: (outcome: PublishVerdict["state"] | "failed") => void;
  readonly inFlightMax: number;
  readonly nowMs: () => number;
  readonly underWay: UnderWay;
};

export type InboundClient = {
  readonly version: ProtocolVersion;
  readonly subject: Subject;
  readonly session: Session;
  /** The same value for all messages of one connection. */
  readonly connection: unknown;
  readonly isClosed: () => boolean;
  write(bytes: Buffer): void;
  end(ending: Ending): void;
  /** Less waits than did. */
  onSettled(): void;
  /** For a session that outlives the agent: QoS 2 identifiers, durable when they resolve. */
  readonly journal: KeptReceived | undefined;
};

export type KeptReceived = {
  received(messageId: number): Promise<void>;
  completed(messageId: number): Promise<void>;
};

export interface Inbound {
  publish(packet: Publish): void;
  /** PUBREL. */
  release(messageId: number): void;
  /** More waits for the store than should: read no further. */
  readonly isFull: boolean;
}

/** Objects and a promise come on top of the payload, roughly. */
const costOf = (packet: Publish) => packet.payload.length + 256;

type Turn = {
  readonly packet: Publish;
  readonly topic: string;
  verdict?: PublishVerdict;
  /** By a mistake of our own. */
  hasFailed?: boolean;
  /** What is left to do is to say so. */
  answer?: () => void;
  isDurable?: boolean;
};

export function createInbound(deps: InboundDependencies, client: InboundClient): Inbound {
  const { session, version } = client;
  const topicByAlias = new Map<number, string>();
  /** QoS 1 and 2 in the order in which they came. */
  const turns: Turn[] = [];
  let [count, cost] = [0, 0];

  const acknowledge = (
    { qos, messageId }: Publish,
    more: { reasonCode: number; reasonString?: string; userProperties?: Record<string, string> },
  ) => {
    if (qos === 0) return;
    if (qos === 2) {
      if (more.reasonCode < 0x80) session.received.set(messageId, true);
      else session.received.delete(messageId);
    }
    const cmd = qos === 1 ? "puback" : "pubrec";
    client.write(encodeAcknowledgement(version, { cmd, messageId, ...more }));
  };

  const refuse = (packet: Publish, verdict: PublishVerdict & { state: "refused" }) => {
    const { error, reached } = verdict;
    deps.log.debug("message refused", { client: session.id, error });
    if (packet.qos > 0 && version === 5) {
      return acknowledge(packet, {
        reasonCode: publishReason(error),
        reasonString: error.message,
        userProperties: {
          "skerry-code": error.code,
          ...(reached ? { "skerry-reached": formatDurabilityLevel(reached) } : {}),
        },
      });
    }
    if (packet.qos === 2) session.received.delete(packet.messageId);
    client.end(endingOfMessage(error));
  };

  /** Passes a message on; its acknowledgement follows once what it promises is on disk. */
  const pass = (turn: Turn, verdict: PublishVerdict): Promise<unknown> | undefined => {
    const { packet, topic, hasFailed } = turn;
    deps.onOutcome(hasFailed ? "failed" : verdict.state);
    // QoS 0 has no acknowledgement to withhold; it goes on to local subscribers.
    if (verdict.state === "refused" && (packet.qos > 0 || verdict.error.code === "forbidden")) {
      turn.answer = () => refuse(packet, verdict);
      return undefined;
    }
    const { payload, qos, retain, properties, expirySeconds, messageId } = packet;
    const { subscribers, durable } = deps.route({
      topic,
      payload,
      qos,
      retain,
      from: session.id,
      ...(properties ? { properties, propertyBytes: JSON.stringify(properties).length } : {}),
      ...(expirySeconds === undefined ? {} : { expiresAtMs: deps.nowMs() + expirySeconds * 1000 }),
    });
    turn.answer = () => {
      if (verdict.state === "stored" && version === 5)
        acknowledge(packet, {
          reasonCode: 0,
          userProperties: { "skerry-reached": formatDurabilityLevel(verdict.reached) },
        });
      else
        acknowledge(packet, {
          reasonCode: subscribers === 0 && version === 5 ? reason.noMatchingSubscribers : 0,
        });
    };
    if (qos !== 2 || !client.journal) return durable;
    return Promise.all([durable, client.journal.received(messageId)]);
  };

  const done = ({ packet }: Turn) => {
    count--;
    cost -= costOf(packet);
    client.onSettled();
    deps.underWay.end();
  };
  const answerInTurn = () => {
    for (let first = turns[0]; first?.answer && first.isDurable; first = turns[0]) {
      turns.shift();
      first.answer();
      done(first);
    }
  };
  /** QoS 1 and 2: on in the order in which they came, and answered in it. */
  const passInTurn = () => {
    for (const turn of turns) {
      if (turn.answer) continue;
      if (!turn.verdict) break;
      const durable = pass(turn, turn.verdict);
      if (!durable) turn.isDurable = true;
      else
        void durable
          .catch((error: unknown) => {
            const verdict = failed(turn, error);
            turn.answer = () => refuse(turn.packet, verdict);
          })
          .then(() => {
            turn.isDurable = true;
            answerInTurn();
          });
    }
    answerInTurn();
  };

  /** A mistake of our own is no verdict on the message, and is not acknowledged either. */
  const failed = (turn: Turn, error: unknown): PublishVerdict & { state: "refused" } => {
    turn.hasFailed = true;
    deps.log.error("message failed", { topic: turn.topic, error });
    if (error instanceof SkerryError) return { state: "refused", error };
    const message = error instanceof Error ? error.message : String(error);
    const failure = new SkerryError({ code: "storage-failed", message, cause: error });
    return { state: "refused", error: failure };
  };

  const work = async (turn: Turn) => {
    const { topic, packet } = turn;
    let verdict: PublishVerdict;
    try {
      verdict = await deps.publishing({
        topic,
        payload: packet.payload,
        qos: packet.qos,
        clientId: session.id,
        connection: client.connection,
        subject: client.subject,
        userProperties: packet.properties?.userProperties,
      });
    } catch (error) {
      verdict = failed(turn, error);
    }
    turn.verdict = verdict;
    if (packet.qos > 0) return passInTurn();
    // What is retained of it is written down as time allows.
    void pass(turn, verdict)?.catch(() => {});
    if (verdict.state === "refused") turn.answer?.();
    done(turn);
  };

  /** Undefined: the client was told, and its connection ended. */
  const topicOf = ({ topic, alias }: Publish): string | undefined => {
    const fail = (message: string, reasonCode: number) => {
      client.end(invalidPacket(message, reasonCode));
      return undefined;
    };
    if (alias !== undefined && (alias === 0 || alias > topicAliasesMax))
      return fail(`topic alias ${alias}; 1 to ${topicAliasesMax}`, reason.topicAliasInvalid);
    const known = alias === undefined || topic !== "" ? topic : topicByAlias.get(alias);
    if (known === undefined)
      return fail(`topic alias ${alias} stands for nothing`, reason.protocolError);
    const problem = topicProblem(known);
    if (problem) {
      deps.onOutcome("refused");
      return fail(problem.message, reason.topicInvalid);
    }
    if (alias !== undefined) topicByAlias.set(alias, known);
    return known;
  };

  return {
    publish(packet) {
      const topic = topicOf(packet);
      if (topic === undefined) return;
      const { qos, messageId } = packet;
      if (qos === 2) {
        const isAcknowledged = session.received.get(messageId);
        // Sent again: once it is known, its PUBREC is all there is to say.
        if (isAcknowledged === true) return acknowledge(packet, { reasonCode: 0 });
        if (isAcknowledged === false && turns.some((turn) => turn.packet.messageId === messageId))
          return;
        if (session.received.size >= halfOpenMax) {
          return client.end({
            refusal: "half-open-qos2",
            reasonCode: reason.receiveMaximumExceeded,
            message: `more than ${halfOpenMax} QoS 2 messages without PUBREL`,
            code: "client-too-fast",
          });
        }
        session.received.set(messageId, false);
      }
      if (count >= deps.inFlightMax) {
        deps.onOutcome("refused");
        const message = `${session.id} has ${count} messages waiting for the store`;
        return client.end(
          endingOf(new SkerryError({ code: "client-too-fast", message, retryable: true })),
        );
      }
      const turn: Turn = { packet, topic };
      count++;
      cost += costOf(packet);
      if (qos > 0) turns.push(turn);
      deps.underWay.begin();
      void work(turn);
    },
    release(messageId) {
      const isKnown = session.received.delete(messageId);
      const answer = (reasonCode: number) =>
        client.write(encodeAcknowledgement(version, { cmd: "pubcomp", messageId, reasonCode }));
      if (!client.journal) return answer(isKnown ? 0 : reason.packetIdNotFound);
      // Otherwise a new message of the same identifier would be taken for this one after a restart.
      // A kept session that does not know it completed it before and its PUBCOMP was lost: what a
      // client takes for a failed message it would send anew.
      void client.journal.completed(messageId).then(
        () => answer(0),
        (error: unknown) => {
          deps.log.warn("PUBREL is not answered: it could not be written down", { error });
          if (isKnown) session.received.set(messageId, true);
        },
      );
    },
    get isFull() {
      return cost > waitingCostMax;
    },
  };
}
