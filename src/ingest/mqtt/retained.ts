/** Keeps what is retained bounded, in topics and bytes; a message too many is passed on unretained. */
import { retainedBytesMax, retainedTopicsMax } from "./limits.ts";

export interface Retained {
  /** Clears the packet's retain flag where there is no room for it. True when it did. */
  bound(packet: { topic: string; retain: boolean; payload: string | Buffer }): boolean;
  readonly bytes: number;
}

export function createRetained(
  limits = { topicsMax: retainedTopicsMax, bytesMax: retainedBytesMax },
): Retained {
  const bytesByTopic = new Map<string, number>();
  let bytes = 0;
  const forget = (topic: string) => {
    bytes -= bytesByTopic.get(topic) ?? 0;
    bytesByTopic.delete(topic);
  };
  return {
    bound(packet) {
      if (!packet.retain) return false;
      const { topic, payload } = packet;
      if (payload.length === 0) {
        forget(topic);
        return false;
      }
      const before = bytesByTopic.get(topic);
      const after = topic.length + payload.length;
      if (
        (before === undefined && bytesByTopic.size >= limits.topicsMax) ||
        bytes - (before ?? 0) + after > limits.bytesMax
      ) {
        packet.retain = false;
        return true;
      }
      forget(topic);
      bytesByTopic.set(topic, after);
      bytes += after;
      return false;
    },
    get bytes() {
      return bytes;
    },
  };
}
