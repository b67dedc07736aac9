/**
 * Topic to streams. A topic belongs to every stream one of whose filters matches it (MQTT 3.1.1,
 * section 4.7), and `streams/NAME` to the stream NAME. Pure; compiled once per set of declarations.
 */
import type { DeclaredStreams, StreamDeclaration } from "./ports.ts";

export type TopicMatch =
  | { readonly state: "streams"; readonly streams: readonly StreamDeclaration[] }
  /** Below `streams/`, which is kept for streams, but nobody declared it. */
  | { readonly state: "unknown-stream"; readonly stream: string }
  /** Ordinary MQTT between local clients; nothing is stored. */
  | { readonly state: "unmapped" };

/** Every stream owns this topic prefix followed by its name. */
export const streamTopicPrefix = "streams/";

/** Topics remembered per set of declarations; devices publish to few. */
const memoTopicsMax = 4096;

export function createTopicMapping(streams: DeclaredStreams): (topic: string) => TopicMatch {
  let compiledFrom: readonly StreamDeclaration[] | undefined;
  let compiled: { stream: StreamDeclaration; filters: string[][] }[] = [];
  let matchByTopic = new Map<string, TopicMatch>();

  return (topic) => {
    const declared = streams();
    if (declared !== compiledFrom) {
      compiledFrom = declared;
      compiled = declared.map((stream) => ({
        stream,
        filters: [`${streamTopicPrefix}${stream.name}`, ...stream.mqttTopics].map((filter) =>
          filter.split("/"),
        ),
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

function resolve(
  topic: string,
  compiled: readonly { stream: StreamDeclaration; filters: string[][] }[],
): TopicMatch {
  const levels = topic.split("/");
  const matching = compiled
    .filter(({ filters }) => filters.some((filter) => levelsMatch(filter, levels)))
    .map(({ stream }) => stream);
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
