/** How much of everything an MQTT client may; each row of the README's table stands here. */
import { SkerryError } from "../../lib/errors.ts";
import { entryBytesMax } from "../entry-body.ts";

/** Topic, packet identifier and the header come on top of the payload. */
export const packetBytesMax = entryBytesMax + 66_000;
/** Before a client is known: name, password, will. */
export const connectBytesMax = 32 * 1024;
export const willBytesMax = 16 * 1024;
export const clientIdBytesMax = 256;
export const topicBytesMax = 1024;
export const topicLevelsMax = 32;
export const subscriptionsMax = 128;
/** QoS 2 messages of one client between PUBREC and PUBREL; only their identifiers are kept. */
export const halfOpenMax = 512;
export const retainedTopicsMax = 4096;
export const retainedBytesMax = 16 * 1024 * 1024;
/** Of packets that have not come to their end, over all connections. */
export const partialBytesMax = 32 * 1024 * 1024;
/**
 * What a slow subscriber may leave unread; beyond half of it messages to it are dropped, so that a
 * writer to the broker never waits for a reader.
 */
export const unreadBytesMax = 1024 * 1024;

/** What stands against a topic name, or (`isFilter`) a topic filter; undefined for nothing. */
export function topicProblem(topic: string, isFilter = false): SkerryError | undefined {
  const bytes = Buffer.byteLength(topic);
  const shown = JSON.stringify(topic.slice(0, 80));
  const invalid = (message: string) =>
    new SkerryError({ code: "invalid-packet", message: `topic ${shown}: ${message}` });
  if (bytes === 0) return invalid("is empty");
  if (bytes > topicBytesMax) return invalid(`${bytes} bytes long; at most ${topicBytesMax}`);
  if (topic.startsWith("$")) return invalid("topics that begin with $ are the broker's");
  // MQTT-1.5.3-2
  if (topic.includes("\u0000")) return invalid("holds the character U+0000");
  if (topic.split("/").length > topicLevelsMax) return invalid(`at most ${topicLevelsMax} levels`);
  if (!isFilter && /[#+]/.test(topic)) return invalid("# and + are for subscriptions");
  return undefined;
}
