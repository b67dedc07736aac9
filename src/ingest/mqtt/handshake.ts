/** CONNECT: whether a client may come in, and as who. Answers with data; `client.ts` acts on it. */
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { messageProperties, type Connect } from "./codec.ts";
import { clientIdBytesMax, sessionSecondsMax, willBytesMax } from "./limits.ts";
import type { MqttCredentials, MqttDependencies } from "./mqtt.ts";
import type { Subject } from "../ports.ts";
import { reason, type ReturnCode } from "./reason-codes.ts";
import { topicProblem } from "./topics.ts";
import type { Will } from "./wills.ts";

export type Refusal = {
  readonly state: "refused";
  /** MQTT 3.1.1; absent: closed without an answer, since it has no code for it. */
  readonly returnCode?: ReturnCode;
  readonly reasonCode: number;
  /** Absent: counted already. */
  readonly refusal?: string;
  readonly code?: string;
  readonly message: string;
};

export type Admitted = {
  readonly state: "admitted";
  readonly subject: Subject;
  readonly clientId: string;
  /** The client left its identifier to the broker. */
  readonly isAssigned: boolean;
  readonly clean: boolean;
  readonly expirySeconds: number;
  readonly will: Will | undefined;
};

export type Handshake = (
  packet: Connect,
  from: { readonly isOverflow: boolean; readonly peer: string | undefined },
) => Promise<Admitted | Refusal>;

export function createHandshake(
  deps: Pick<MqttDependencies, "authenticate"> & { readonly clock: Clock; readonly log: Log },
): Handshake {
  const startedMs = deps.clock.wallMs();
  let assigned = 0;

  const authenticate = async (credentials: MqttCredentials): Promise<Subject | Refusal> => {
    try {
      return (
        (await deps.authenticate(credentials)) ?? {
          state: "refused",
          returnCode: 4,
          reasonCode: reason.badCredentials,
          refusal: "unauthenticated",
          code: "unauthenticated",
          message: "bad user name or password",
        }
      );
    } catch (error) {
      deps.log.error("authentication failed for a reason of our own", { error });
      return {
        state: "refused",
        returnCode: 3,
        reasonCode: reason.serverUnavailable,
        refusal: "invalid-packet",
        message: "server unavailable",
      };
    }
  };

  return async (packet, { isOverflow, peer }) => {
    const problem = problemOf(packet, isOverflow);
    if (problem) return problem;
    const { username, password, will, properties, protocolVersion } = packet;
    const subject = await authenticate({
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password: password.toString() }),
      ...(peer === undefined ? {} : { peer }),
    });
    if ("state" in subject) return subject;
    const isAssigned = packet.clientId === "";
    const clientId = isAssigned ? `auto-${startedMs.toString(36)}-${++assigned}` : packet.clientId;
    const isClean = packet.clean ?? true;
    const asked =
      protocolVersion === 5
        ? (properties?.sessionExpiryInterval ?? 0)
        : isClean
          ? 0
          : sessionSecondsMax;
    const { willDelayInterval, messageExpiryInterval, ...given } = will?.properties ?? {};
    const more = will && messageProperties(given);
    return {
      state: "admitted",
      subject,
      clientId,
      isAssigned,
      clean: isClean,
      expirySeconds: Math.min(asked, sessionSecondsMax),
      will: will && {
        delaySeconds: willDelayInterval ?? 0,
        ...(messageExpiryInterval === undefined ? {} : { expirySeconds: messageExpiryInterval }),
        message: {
          topic: will.topic,
          payload: Buffer.from(will.payload),
          qos: will.qos ?? 0,
          retain: will.retain ?? false,
          from: clientId,
          ...(more ? { properties: more } : {}),
        },
      },
    };
  };
}

function problemOf(packet: Connect, isOverflow: boolean): Refusal | undefined {
  const { will, clientId, protocolVersion, clean, properties } = packet;
  const willError = will && willProblem(will);
  if (willError) {
    const isSize = willError.code === "message-too-large";
    return {
      state: "refused",
      reasonCode: isSize ? reason.packetTooLarge : reason.topicInvalid,
      refusal: willError.code,
      code: willError.code,
      message: willError.message,
    };
  }
  if (isOverflow)
    return {
      state: "refused",
      returnCode: 3,
      reasonCode: reason.serverBusy,
      message: "server unavailable: too many connections",
    };
  const identifierProblem =
    Buffer.byteLength(clientId) > clientIdBytesMax
      ? `too long; at most ${clientIdBytesMax} bytes`
      : clientId.includes("\u0000") || clientId.includes("\ufffd")
        ? "not UTF-8 without U+0000"
        : clientId === "" && protocolVersion !== 5 && clean === false
          ? "empty, and the session is to be kept"
          : undefined;
  if (identifierProblem)
    return {
      state: "refused",
      returnCode: 2,
      reasonCode: reason.clientIdNotValid,
      refusal: "client-id-refused",
      code: "invalid-packet",
      message: `identifier rejected: ${identifierProblem}`,
    };
  if (properties?.authenticationMethod !== undefined)
    return {
      state: "refused",
      reasonCode: reason.badAuthenticationMethod,
      refusal: "unauthenticated",
      code: "unauthenticated",
      message: "extended authentication is not offered: a token as the password, or a certificate",
    };
  return undefined;
}

function willProblem(will: NonNullable<Connect["will"]>): SkerryError | undefined {
  if (will.payload.length <= willBytesMax) return topicProblem(will.topic);
  return new SkerryError({
    code: "message-too-large",
    message: `a will of ${will.payload.length} bytes; at most ${willBytesMax} are taken`,
  });
}
