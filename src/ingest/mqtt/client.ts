/**
 * One client from CONNECT to its end: packets in, packets out. It acts on what `handshake.ts`,
 * `inbound.ts` and `subscribing.ts` decide, and is the only place that ends a connection.
 */
import type { Socket } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import type { ConnectionGate } from "../../runtime/connections/index.ts";
import type { Subject } from "../ports.ts";
import {
  encodeAcknowledgement,
  encodeFarewell,
  encodeRefusal,
  encodeWelcome,
  pingResponse,
} from "./answers.ts";
import type { Codec, Connect, Incoming, ProtocolVersion } from "./codec.ts";
import { createConnection, excused, type Look, type PartialBudget } from "./connection.ts";
import { endingOf, invalidPacket, type Ending } from "./ending.ts";
import type { Admitted, Handshake, Refusal } from "./handshake.ts";
import { createInbound, type Inbound, type InboundDependencies } from "./inbound.ts";
import type { Journal } from "./journal.ts";
import { createLink, receivedJournal } from "./link.ts";
import type { Encoder } from "./message.ts";
import { reason } from "./reason-codes.ts";
import type { HeldSession, Sessions } from "./sessions.ts";
import type { Subscribing } from "./subscribing.ts";

export type ClientDependencies = Omit<InboundDependencies, "nowMs"> & {
  readonly clock: Clock;
  readonly codec: Codec;
  readonly encoder: Encoder;
  readonly gate: ConnectionGate;
  readonly partial: PartialBudget;
  readonly handshake: Handshake;
  readonly sessions: Sessions;
  readonly subscribing: Subscribing;
  readonly journal: Journal | undefined;
  readonly peerOf: ((socket: Socket) => string | undefined) | undefined;
  /** `sender` is an identity, or an address where none is known. */
  readonly onEnded: (ending: Ending, sender: string) => void;
};

export interface Client {
  /** Ends it with a word to the client (MQTT 5). */
  end(ending: Ending): void;
  /** Reads no further. */
  quiet(): void;
  /** Ends it where it fell silent or does not move. */
  sweep(look: Look): void;
}

const connectTimeoutMs = 10_000;

type Phase =
  | { readonly state: "connecting" }
  | {
      readonly state: "open";
      readonly version: ProtocolVersion;
      readonly subject: Subject;
      readonly held: HeldSession;
      readonly inbound: Inbound;
      readonly keepaliveMs: number;
    }
  | { readonly state: "ended" };

export function createClient(socket: Socket, deps: ClientDependencies): Client {
  const { clock, codec, encoder } = deps;
  let phase: Phase = { state: "connecting" };
  let version: ProtocolVersion | undefined;
  let [isPaused, isQuiet] = [false, false];
  let receivedMs: number = clock.monotonicMs();

  const connection = createConnection(socket, deps, {
    packet(frame) {
      receivedMs = clock.monotonicMs();
      const decoded = codec.decode(frame, version);
      if (decoded.ok) return act(decoded.packet);
      if (decoded.reasonCode === reason.unsupportedVersion)
        return refuse(4, {
          state: "refused",
          returnCode: 1,
          reasonCode: reason.unsupportedVersion,
          refusal: "protocol-version",
          code: "invalid-packet",
          message: "unacceptable protocol version; 3.1.1 and 5 are spoken",
        });
      client.end(invalidPacket(decoded.message, decoded.reasonCode));
    },
    read: () => adjust(),
    drained() {
      if (phase.state === "open") phase.held.session.pump();
      adjust();
    },
    failed: (error) => client.end(endingOf(error)),
    closed() {
      if (phase.state === "open") phase.held.close();
      phase = { state: "ended" };
    },
  });

  /** Reads on or not: what waits of this client is bounded, in either direction. */
  const adjust = () => {
    if (phase.state !== "open") return;
    const isFull = isQuiet || connection.isFull || phase.inbound.isFull;
    if (isFull === isPaused) return;
    isPaused = isFull;
    if (isFull) connection.pause();
    else connection.resume();
  };

  const leave = (ending: Ending, last?: Buffer) => {
    const sender = phase.state === "open" ? phase.subject.id : (socket.remoteAddress ?? "");
    const { held } = phase.state === "open" ? phase : {};
    phase = { state: "ended" };
    deps.onEnded(ending, sender);
    connection.close(last);
    held?.close();
  };

  const refuse = (by: ProtocolVersion, refusal: Refusal) => {
    leave(refusal, encodeRefusal(by, refusal));
  };

  const connect = async (packet: Connect) => {
    version = packet.protocolVersion;
    const peer = deps.peerOf?.(socket);
    const verdict = await deps.handshake(packet, {
      isOverflow: deps.gate.isOverflow(socket),
      peer,
    });
    if (phase.state !== "connecting" || connection.closed) return;
    if (verdict.state === "refused") return refuse(version, verdict);
    const opened = deps.sessions.open({
      ...verdict,
      owner: verdict.subject.id,
      onTakenOver: () =>
        client.end({
          reasonCode: reason.sessionTakenOver,
          message: "the client connected again",
        }),
    });
    switch (opened.state) {
      case "foreign":
        return refuse(version, {
          state: "refused",
          returnCode: 2,
          reasonCode: reason.clientIdNotValid,
          refusal: "client-id-refused",
          code: "invalid-packet",
          message: "identifier rejected: another identity's",
        });
      case "full":
        return refuse(version, {
          state: "refused",
          returnCode: 3,
          reasonCode: reason.quotaExceeded,
          refusal: "sessions-full",
          message: "server unavailable: no more sessions are kept",
        });
      case "opened":
    }
    const { held } = opened;
    try {
      // What the CONNACK says of the session holds after a restart too.
      await held.save();
    } catch (error) {
      held.close();
      if (phase.state !== "connecting") return;
      return refuse(version, {
        state: "refused",
        returnCode: 3,
        reasonCode: reason.serverUnavailable,
        refusal: "sessions-not-written",
        message: `server unavailable: ${error instanceof Error ? error.message : String(error)}`,
      });
    }
    if (phase.state !== "connecting" || connection.closed) return held.close();
    welcome(packet, version, verdict, opened);
  };

  const welcome = (
    packet: Connect,
    by: ProtocolVersion,
    admitted: Admitted,
    { held, isPresent }: { held: HeldSession; isPresent: boolean },
  ) => {
    const { session } = held;
    deps.gate.hold(socket);
    const inbound = createInbound(
      { ...deps, nowMs: () => clock.monotonicMs() },
      {
        version: by,
        subject: admitted.subject,
        session,
        connection,
        isClosed: () => connection.closed,
        write: (bytes) => connection.write(bytes),
        end: (ending) => client.end(ending),
        onSettled: adjust,
        journal: receivedJournal(deps.journal, held.key),
      },
    );
    const keepaliveMs = (packet.keepalive ?? 0) * 1500;
    phase = { state: "open", version: by, subject: admitted.subject, held, inbound, keepaliveMs };
    connection.write(encodeWelcome(by, admitted, packet, isPresent));
    session.attach(createLink({ connection, encoder, clock }, packet, by));
    connection.open();
  };

  const afterSaved = (held: HeldSession, then: () => void) => {
    const saving = held.save();
    if (!saving) return then();
    void saving.then(then, (error: unknown) =>
      client.end({
        refusal: "sessions-not-written",
        reasonCode: reason.serverUnavailable,
        message: error instanceof Error ? error.message : String(error),
      }),
    );
  };

  const answersOf = (held: HeldSession) => ({
    write: (bytes: Buffer) => connection.write(bytes),
    afterSaved: (then: () => void) => afterSaved(held, then),
  });

  const act = (packet: Incoming) => {
    if (packet.cmd === "connect") {
      if (phase.state === "connecting") void connect(packet);
      return;
    }
    if (phase.state !== "open") return;
    const { held, inbound, version: by } = phase;
    const { session } = held;
    switch (packet.cmd) {
      case "publish":
        return inbound.publish(packet);
      case "pubrel":
        return inbound.release(packet.messageId);
      case "puback":
      case "pubcomp":
        return void session.settle(packet.messageId);
      case "pubrec": {
        const { messageId, reasonCode } = packet;
        if (reasonCode >= 0x80) return void session.settle(messageId);
        if (!session.release(messageId))
          connection.write(
            encodeAcknowledgement(by, {
              cmd: "pubrel",
              messageId,
              reasonCode: reason.packetIdNotFound,
            }),
          );
        return;
      }
      case "subscribe":
        return deps.subscribing.subscribe(session, packet, by, answersOf(held));
      case "unsubscribe":
        return deps.subscribing.unsubscribe(session, packet, by, answersOf(held));
      case "pingreq":
        return connection.write(pingResponse);
      case "disconnect": {
        const { reasonCode = 0, properties } = packet;
        if (reasonCode !== reason.disconnectWithWill) held.forgetWill();
        const asked = properties?.sessionExpiryInterval;
        if (asked !== undefined && held.expirySeconds === 0 && asked > 0)
          return client.end(
            invalidPacket("a session that was to end is to be kept", reason.protocolError),
          );
        if (asked !== undefined) held.expirySeconds = Math.min(held.expirySeconds, asked);
        return leave({ reasonCode: 0, message: "the client said goodbye" });
      }
    }
  };

  const client: Client = {
    end(ending) {
      if (phase.state === "ended") return;
      const isTold = phase.state === "open" && phase.version === 5;
      leave(ending, isTold ? encodeFarewell(ending) : undefined);
    },
    quiet() {
      isQuiet = true;
      connection.pause();
    },
    sweep(look) {
      connection.sweep(look);
      const { nowMs } = look;
      receivedMs = excused(receivedMs, look);
      const silentMs = nowMs - receivedMs;
      if (phase.state === "connecting" && silentMs >= connectTimeoutMs) {
        client.end({
          refusal: "connect-timeout",
          reasonCode: reason.unspecified,
          message: `CONNECT did not arrive within ${connectTimeoutMs} ms`,
        });
      }
      // Who is not read cannot be heard.
      if (phase.state !== "open" || isPaused) receivedMs = isPaused ? nowMs : receivedMs;
      else if (phase.keepaliveMs > 0 && silentMs >= phase.keepaliveMs) {
        client.end({
          refusal: "keepalive-timeout",
          reasonCode: reason.keepAliveTimeout,
          message: `nothing was heard for ${phase.keepaliveMs} ms`,
        });
      }
    },
  };
  return client;
}
