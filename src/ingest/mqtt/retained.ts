/** The last message of each topic that was published to be kept; bounded in topics and bytes. */
import { topicMatches } from "../mapping.ts";
import { retainedBytesMax, retainedTopicsMax } from "./limits.ts";
import { sizeOf, type Message } from "./message.ts";

export interface Retained {
  /**
   * Keeps the message in place of the one before it; an empty one only removes that. `full`: there is
   * no room, nothing was changed.
   */
  keep(message: Message): "kept" | "removed" | "full";
  get(topic: string): Message | undefined;
  /** Forgets what expired, and gives it back. */
  expire(nowMs: number): Message[];
  /** The topics that match a filter. */
  topics(filter: string): string[];
  readonly bytes: number;
  readonly size: number;
}

export function createRetained(
  limits = { topicsMax: retainedTopicsMax, bytesMax: retainedBytesMax },
): Retained {
  const messageByTopic = new Map<string, Message>();
  let bytes = 0;
  const forget = (topic: string) => {
    const known = messageByTopic.get(topic);
    if (known) bytes -= sizeOf(known);
    messageByTopic.delete(topic);
  };
  return {
    keep(message) {
      const { topic, payload } = message;
      if (payload.length === 0) {
        forget(topic);
        return "removed";
      }
      const before = messageByTopic.get(topic);
      const after = bytes - (before ? sizeOf(before) : 0) + sizeOf(message);
      if ((!before && messageByTopic.size >= limits.topicsMax) || after > limits.bytesMax)
        return "full";
      // Out of the chunk it arrived in, which it would otherwise keep alive.
      messageByTopic.set(topic, { ...message, payload: Buffer.from(payload) });
      bytes = after;
      return "kept";
    },
    get: (topic) => messageByTopic.get(topic),
    topics(filter) {
      if (!/[+#]/.test(filter)) return messageByTopic.has(filter) ? [filter] : [];
      return [...messageByTopic.keys()].filter((topic) => topicMatches(filter, topic));
    },
    expire(nowMs) {
      const expired = [...messageByTopic.values()].filter(
        ({ expiresAtMs }) => expiresAtMs !== undefined && expiresAtMs <= nowMs,
      );
      for (const { topic } of expired) forget(topic);
      return expired;
    },
    get bytes() {
      return bytes;
    },
    get size() {
      return messageByTopic.size;
    },
  };
}
