/**
 * One published message on its way into the store. The answer says whether it may be acknowledged;
 * how the connection is told is the broker's affair.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { Batcher } from "../batcher.ts";
import { strongest } from "../batcher.ts";
import type { DeadLetters } from "../dead-letters.ts";
import { parsePayload } from "../entry-body.ts";
import type { TopicMatch } from "../mapping.ts";
import type { AuthorizeAppend, StreamDeclaration, Subject } from "../ports.ts";

export type Published = {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: 0 | 1 | 2;
  readonly clientId: string;
  /** The same value for all messages of one connection. */
  readonly connection: unknown;
  readonly subject: Subject | undefined;
};

export type PublishVerdict =
  | { readonly state: "stored" }
  /** No stream wants it: ordinary MQTT, nothing to store. */
  | { readonly state: "passed" }
  /** May not be acknowledged. */
  | { readonly state: "refused"; readonly error: SkerryError };

export function createPublishing(deps: {
  batcher: Batcher;
  deadLetters: DeadLetters;
  match: (topic: string) => TopicMatch;
  authorize?: AuthorizeAppend;
}): (message: Published) => Promise<PublishVerdict> {
  const refuse = (message: Published, error: SkerryError, stream?: string): PublishVerdict => {
    deps.deadLetters.record({
      source: "mqtt",
      code: error.code,
      message: error.message,
      sender: message.subject?.id ?? message.clientId,
      topic: message.topic,
      payload: message.payload,
      ...(stream === undefined ? {} : { stream }),
    });
    return { state: "refused", error };
  };

  return async (message) => {
    const match = deps.match(message.topic);
    if (match.state === "unmapped") return { state: "passed" };
    if (match.state === "unknown-stream") {
      return refuse(
        message,
        new SkerryError({
          code: "stream-unknown",
          message: `topic ${message.topic}: there is no stream "${match.stream}"`,
          hint: "declare the Stream, or publish to a topic that does not begin with streams/",
        }),
        match.stream,
      );
    }
    const forbidden = forbiddenStream(message.subject, match.streams, deps.authorize);
    if (forbidden) {
      return refuse(
        message,
        new SkerryError({
          code: "forbidden",
          message: `${message.subject?.id ?? message.clientId} may not append to stream "${forbidden}"`,
        }),
        forbidden,
      );
    }
    const parsed = parsePayload(message.payload);
    if (!parsed.ok) {
      const { field, message: what } = parsed.problem;
      return refuse(
        message,
        new SkerryError({
          code: "invalid-entry",
          message: `topic ${message.topic}: ${field === "" ? "the payload" : field} ${what}`,
        }),
        match.streams[0]?.name,
      );
    }
    const level =
      message.qos === 0
        ? ({ level: "memory" } as const)
        : strongest(match.streams.map(({ durability }) => durability));
    const outcome = await deps.batcher.submit({
      entries: match.streams.map(({ name }) => ({ stream: name, ...parsed.entry })),
      level,
      producer: message.subject?.id ?? message.clientId,
      connection: message.connection,
    });
    switch (outcome.state) {
      case "reached":
        return { state: "stored" };
      case "short":
        // It is stored, only not as far as the stream asks: no dead letter, and no acknowledgement.
        return {
          state: "refused",
          error: new SkerryError({
            code: "durability-short",
            message: `topic ${message.topic}: stored at ${outcome.reached.level}, the stream asks for ${level.level}`,
            retryable: true,
          }),
        };
      case "refused":
        return refuse(message, new SkerryError(outcome), match.streams[0]?.name);
    }
  };
}

function forbiddenStream(
  subject: Subject | undefined,
  streams: readonly StreamDeclaration[],
  authorize: AuthorizeAppend | undefined,
): string | undefined {
  if (!authorize) return undefined;
  return streams.find(({ name }) => !subject || !authorize(subject, name))?.name;
}
