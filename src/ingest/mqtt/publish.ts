/**
 * One published message on its way into the store. The answer says whether it may be acknowledged;
 * how the connection is told is the broker's affair.
 */
import {
  formatDurabilityLevel,
  parseDurabilityLevel,
  type DurabilityLevel,
  type EntryInput,
  type EntryKey,
} from "../../api/index.ts";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Batcher, Submit } from "../batcher.ts";
import { strongest } from "../batcher.ts";
import type { DeadLetters } from "../dead-letters.ts";
import { parseKey, parsePayload, withFields, type EntryProblem } from "../entry-body.ts";
import type { StreamMatch, TopicMatch } from "../mapping.ts";
import type { AuthorizeAppend, Subject } from "../ports.ts";
import { retriedOf, retryTimeoutMs, type Retried } from "../retries.ts";

export type Published = {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: 0 | 1 | 2;
  readonly clientId: string;
  /** The same value for all messages of one connection. */
  readonly connection: unknown;
  readonly subject: Subject | undefined;
  /** MQTT 5: `skerry-producer`, `skerry-epoch`, `skerry-sequence` and `skerry-durability` are read. */
  readonly userProperties?: Readonly<Record<string, string | readonly string[]>> | undefined;
  /** When it came, where that is not now. */
  readonly atMs?: number;
  /** Its client is gone: nobody sends it again. */
  readonly isWill?: boolean;
};

export type PublishVerdict =
  | { readonly state: "stored"; readonly reached: DurabilityLevel }
  /** No stream wants it: ordinary MQTT, nothing to store. */
  | { readonly state: "passed" }
  /** May not be acknowledged. `reached`: it is stored all the same, not as far as it should be. */
  | {
      readonly state: "refused";
      readonly error: SkerryError;
      readonly reached?: DurabilityLevel;
    };

export function createPublishing(deps: {
  batcher: Batcher;
  deadLetters: DeadLetters;
  clock: Clock;
  match: (topic: string) => TopicMatch;
  authorize?: AuthorizeAppend;
}): (message: Published) => Promise<PublishVerdict> {
  const refuse = (error: SkerryError, stream?: string, isUnknown = false): Verdict => ({
    state: "refused",
    error,
    isUnknown,
    letter: stream === undefined ? {} : { stream },
  });

  const publish = async (message: Published, alone?: Submit["alone"]): Promise<Verdict> => {
    const match = deps.match(message.topic);
    if (match.state === "unmapped") return { state: "passed" };
    if (match.state === "unknown-stream") {
      return refuse(
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
        new SkerryError({
          code: "forbidden",
          message: `${message.subject?.id ?? message.clientId} may not append to stream "${forbidden}"`,
        }),
        forbidden,
      );
    }
    const invalid = ({ field, message: what }: EntryProblem) =>
      refuse(
        new SkerryError({
          code: "invalid-entry",
          message: `topic ${message.topic}: ${field === "" ? "the payload" : field} ${what}`,
        }),
        match.streams[0]?.stream.name,
      );
    const parsed = parsePayload(message.payload);
    if (!parsed.ok) return invalid(parsed.problem);
    const said = readProperties(message.userProperties);
    if (!said.ok) return invalid(said.problem);
    if (said.key && parsed.entry.key)
      return invalid({ field: "$key", message: "is in the payload and in user properties" });
    const level =
      message.qos === 0
        ? ({ level: "memory" } as const)
        : (said.level ?? strongest(match.streams.map(({ stream }) => stream.durability)));
    const entries: EntryInput[] = [];
    for (const { stream, fields } of match.streams) {
      const result = fields ? withFields(parsed.entry, fields) : parsed;
      if (!result.ok) return invalid(result.problem);
      entries.push({
        stream: stream.name,
        ...result.entry,
        ...(said.key ? { key: said.key } : {}),
        ...(message.atMs !== undefined && parsed.entry.atMs === undefined
          ? { atMs: message.atMs }
          : {}),
      });
    }
    const outcome = await deps.batcher.submit({
      entries,
      level,
      producer: message.subject?.id ?? message.clientId,
      connection: message.connection,
      ...(alone ? { alone } : {}),
    });
    switch (outcome.state) {
      case "reached":
        return { state: "stored", reached: outcome.reached };
      case "short":
        // It is stored, only not as far as the stream asks: no dead letter, and no acknowledgement.
        return {
          state: "refused",
          reached: outcome.reached,
          error: new SkerryError({
            code: "durability-short",
            message: `topic ${message.topic}: stored at ${formatDurabilityLevel(outcome.reached)}, ${formatDurabilityLevel(level)} is asked for`,
            retryable: true,
          }),
        };
      case "refused":
        return refuse(new SkerryError(outcome), match.streams[0]?.stream.name, outcome.isUnknown);
    }
  };

  const retry = async (message: Published): Promise<Retried> => {
    const verdict = await publish(message, { timeoutMs: retryTimeoutMs });
    if (verdict.state === "stored") return { state: "stored" };
    if (verdict.state === "refused") {
      const isOnDisk = verdict.reached !== undefined && verdict.reached.level !== "memory";
      if (isOnDisk) return { state: "stored" };
      return verdict.isUnknown ? { state: "left" } : retriedOf(verdict.error);
    }
    const text = `topic ${message.topic}: no stream asks for it any more`;
    return { state: "refused", code: "stream-unknown", message: text };
  };

  deps.deadLetters.retryBy("mqtt", (again, payload) =>
    retry({ ...again.message, payload, connection: undefined }),
  );

  return async (message) => {
    const receivedMs = deps.clock.wallMs();
    const verdict = await publish(message);
    if (verdict.state !== "refused" || !verdict.letter) return verdict;
    const { error, letter, isUnknown, ...refused } = verdict;
    // What is to be sent again is nobody's to keep: it would push out what never comes again. Nor is
    // what may be stored: a retry would store it once more.
    if ((error.retryable || isUnknown) && !message.isWill) return { ...refused, error };
    const { topic, qos, clientId, subject, userProperties, payload } = message;
    const atMs = message.atMs ?? receivedMs;
    deps.deadLetters.record({
      source: "mqtt",
      code: error.code,
      message: error.message,
      sender: message.subject?.id ?? message.clientId,
      topic: message.topic,
      // Its buffer is the connection's, and is written over.
      payload: Uint8Array.from(payload),
      ...letter,
      again: { by: "mqtt", message: { topic, qos, clientId, subject, userProperties, atMs } },
    });
    return { ...refused, error };
  };
}

/** With `letter`: it is a dead letter, unless it comes again. `isUnknown`: it may be stored. */
type Verdict =
  | Exclude<PublishVerdict, { readonly state: "refused" }>
  | (Extract<PublishVerdict, { readonly state: "refused" }> & {
      readonly letter?: { readonly stream?: string };
      readonly isUnknown?: boolean;
    });

function forbiddenStream(
  subject: Subject | undefined,
  streams: readonly StreamMatch[],
  authorize: AuthorizeAppend | undefined,
): string | undefined {
  if (!authorize) return undefined;
  return streams.find(({ stream }) => !subject || !authorize(subject, stream.name))?.stream.name;
}

type Said =
  | { readonly ok: true; readonly key?: EntryKey; readonly level?: DurabilityLevel }
  | { readonly ok: false; readonly problem: EntryProblem };

const prefix = "skerry-";
const known = ["producer", "epoch", "sequence", "durability"];

/** What the user properties say about the entry. Others than ours are the applications' own. */
function readProperties(properties: Published["userProperties"]): Said {
  if (!properties) return { ok: true };
  const said: Record<string, string> = {};
  for (const [name, value] of Object.entries(properties)) {
    if (!name.startsWith(prefix)) continue;
    const field = `user property ${name.slice(0, 80)}`;
    if (!known.includes(name.slice(prefix.length)))
      return {
        ok: false,
        problem: { field, message: `is unknown; known are ${known.join(", ")}` },
      };
    if (typeof value !== "string")
      return { ok: false, problem: { field, message: "is given twice" } };
    said[name.slice(prefix.length)] = value;
  }
  const { producer, epoch, sequence, durability } = said;
  const level = durability === undefined ? undefined : parseDurabilityLevel(durability);
  if (durability !== undefined && !level) {
    const message = `must be memory, local, peer(1), peer(2) … or hub, got ${JSON.stringify(durability.slice(0, 80))}`;
    return { ok: false, problem: { field: "user property skerry-durability", message } };
  }
  const more = level ? { level } : {};
  if (producer === undefined && epoch === undefined && sequence === undefined)
    return { ok: true, ...more };
  const key = parseKey(
    { producer, epoch: toNumber(epoch), sequence: toNumber(sequence) },
    "user property skerry",
  );
  return key.ok ? { ok: true, key: key.key, ...more } : key;
}

const toNumber = (text: string | undefined) =>
  text !== undefined && /^\d{1,16}$/.test(text) ? Number(text) : text;
