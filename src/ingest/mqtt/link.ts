/** What a session and the messages of a client need of its connection and of the journal. */
import type { Clock } from "../../lib/clock.ts";
import type { SessionKey } from "../mqtt-state/index.ts";
import { encodeAcknowledgement } from "./answers.ts";
import type { Connect, ProtocolVersion } from "./codec.ts";
import type { Connection } from "./connection.ts";
import type { KeptReceived } from "./inbound.ts";
import type { Journal } from "./journal.ts";
import { windowMax } from "./limits.ts";
import type { Encoder } from "./message.ts";
import type { Link } from "./session.ts";

/** `packet` says how many messages, and how large ones, the client takes. */
export function createLink(
  deps: {
    readonly connection: Pick<Connection, "isFull" | "write">;
    readonly encoder: Encoder;
    readonly clock: Clock;
  },
  packet: Connect,
  version: ProtocolVersion,
): Link {
  const { connection, encoder, clock } = deps;
  const { receiveMaximum, maximumPacketSize } = packet.properties ?? {};
  return {
    get isFull() {
      return connection.isFull;
    },
    window: Math.min(windowMax, receiveMaximum ?? windowMax),
    publish(outgoing, messageId, dup) {
      const nowMs = clock.monotonicMs();
      const bytes = encoder.encode(version, outgoing, { messageId, dup, nowMs });
      if (!bytes || (maximumPacketSize !== undefined && bytes.length > maximumPacketSize))
        return false;
      connection.write(bytes);
      return true;
    },
    release: (messageId) =>
      connection.write(encodeAcknowledgement(version, { cmd: "pubrel", messageId, reasonCode: 0 })),
  };
}

/** Undefined for a session that does not outlive the agent. */
export const receivedJournal = (
  journal: Journal | undefined,
  key: SessionKey | undefined,
): KeptReceived | undefined =>
  journal && key !== undefined
    ? {
        received: (messageId) => journal.received(key, messageId),
        completed: (messageId) => journal.completed(key, messageId),
      }
    : undefined;
