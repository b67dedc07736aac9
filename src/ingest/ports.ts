/** What ingest needs of others; connected in `agent/`. */
import type { AppendOutcome, DurabilityLevel, EntryInput } from "../api/index.ts";

/**
 * Stores a batch as one: all of it or, when `refused`, nothing. A `short` answer left the entries
 * at the level it names.
 */
export type Append = (
  batch: readonly EntryInput[],
  options: { readonly level: DurabilityLevel; readonly timeoutMs: number },
) => Promise<AppendOutcome>;

/** What ingest reads of a declared Stream. */
export type StreamDeclaration = {
  readonly name: string;
  /** How far an entry must reach before it is acknowledged when the sender does not say. */
  readonly durability: DurabilityLevel;
  /** `TopicFilter`s as text; `streams/NAME` always belongs to the stream too. */
  readonly mqttTopics: readonly string[];
};

/** The declared streams. The same array as long as nothing changed: what is compiled from it is kept. */
export type DeclaredStreams = () => readonly StreamDeclaration[];

/** Who a sender is; `id` is a SPIFFE id. */
export type Subject = { readonly id: string };

/** Whether a subject may append to a stream. */
export type AuthorizeAppend = (subject: Subject, stream: string) => boolean;
