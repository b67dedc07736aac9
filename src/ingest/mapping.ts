/**
 * Topic to streams and fields. A topic belongs to every stream one of whose filters matches it (MQTT
 * 3.1.1, section 4.7), and `streams/NAME` to the stream NAME; levels that the filter names become
 * fields of the entry. Pure; compiled once per set of declarations.
 */
import { parseTopicFilter, type TopicFilter } from "../api/index.ts";
import type { DeclaredStreams, StreamDeclaration } from "./ports.ts";

export type TopicMatch =
  | { readonly state: "streams"; readonly streams: readonly StreamMatch[] }
  /** Below `streams/`, which is kept for streams, but nobody declared it. */
  | { readonly state: "unknown-stream"; readonly stream: string }
  /** Ordinary MQTT between local clients; nothing is stored. */
  | { readonly state: "unmapped" };

export type StreamMatch = {
  readonly stream: StreamDeclaration;
  /** What the first of its filters that matches names in the topic; absent where it names nothing. */
  readonly fields?: Readonly<Record<string, string>>;
};

type Compiled = { readonly stream: StreamDeclaration; readonly filters: readonly TopicFilter[] };

/** Every stream owns this topic prefix followed by its name. */
export const streamTopicPrefix = "streams/";

/** Topics remembered per set of declarations; devices publish to few. */
const memoTopicsMax = 4096;

export function createTopicMapping(streams: DeclaredStreams): (topic: string) => TopicMatch {
  let compiledFrom: readonly StreamDeclaration[] | undefined;
  let compiled: Compiled[] = [];
  let matchByTopic = new Map<string, TopicMatch>();

  return (topic) => {
    const declared = streams();
    if (declared !== compiledFrom) {
      compiledFrom = declared;
      compiled = declared.map((stream) => ({
        stream,
        filters: [`${streamTopicPrefix}${stream.name}`, ...stream.mqttTopics].map(parseTopicFilter),
      }));
      matchByTopic = new Map();
    }
    const known = matchByTopic.get(topic);
    if (known) return known;
    const match = resolve(topic, compiled);
    if (matchByTopic.size >= memoTopicsMax) matchByTopic.clear();
    matchByTopic.set(topic, match);
    return match;
  };
}

function resolve(topic: string, compiled: readonly Compiled[]): TopicMatch {
  const levels = topic.split("/");
  const matching = compiled.flatMap(({ stream, filters }): StreamMatch[] => {
    const filter = filters.find((one) => levelsMatch(one.levels, levels));
    if (!filter) return [];
    if (filter.fields.length === 0) return [{ stream }];
    const named = filter.fields.map(({ name, level }) => [name, levels[level] ?? ""] as const);
    return [{ stream, fields: Object.fromEntries(named) }];
  });
  if (matching.length > 0) return { state: "streams", streams: matching };
  if (topic.startsWith(streamTopicPrefix)) {
    return { state: "unknown-stream", stream: topic.slice(streamTopicPrefix.length) };
  }
  return { state: "unmapped" };
}

/** Whether an MQTT topic filter matches a topic name. */
export function topicMatches(filter: string, topic: string): boolean {
  return levelsMatch(filter.split("/"), topic.split("/"));
}

function levelsMatch(filter: readonly string[], topic: readonly string[]): boolean {
  // MQTT-4.7.2-1: a wildcard in first place never matches the broker's own `$` topics.
  if (topic[0]?.startsWith("$") && (filter[0] === "#" || filter[0] === "+")) return false;
  for (let i = 0; i < filter.length; i++) {
    const level = filter[i];
    if (level === "#") return i === filter.length - 1;
    if (i >= topic.length) return false;
    if (level !== "+" && level !== topic[i]) return false;
  }
  return filter.length === topic.length;
}
