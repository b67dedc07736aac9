/** How much of everything an MQTT client may; each row of the README's table stands here. */
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
/** Messages of one connection that wait for the store, as bytes and 256 for each: read no further. */
export const waitingCostMax = 64 * 1024;
/** QoS 1 and 2 messages on their way to one subscriber, unless it wants fewer (Receive Maximum). */
export const windowMax = 256;
/** QoS 1 and 2 messages that wait for one subscriber behind those; later ones are dropped. */
export const queuedMessagesMax = 1000;
export const queuedBytesMax = 1024 * 1024;
/** Over all subscribers. */
export const queuedBytesTotalMax = 64 * 1024 * 1024;
/** Topics that one MQTT 5 connection may shorten to a number. */
export const topicAliasesMax = 16;
/** Sessions that outlive their connections; an identity may have a quarter of them. */
export const sessionsMax = 1024;
/** How long a session is kept for a client that is away, whatever it asks for. */
export const sessionSecondsMax = 7 * 24 * 3600;
/** How long a client that a restart cut off has to come back before its will is published. */
export const returnSecondsMin = 60;
