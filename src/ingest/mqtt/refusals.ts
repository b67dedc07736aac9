/** Why a connection was closed, for counting. aedes says so in words only. */
import { SkerryError } from "../../lib/errors.ts";

const reasonByWords: readonly (readonly [RegExp, string])[] = [
  // Counted when it was accepted.
  [/^server unavailable: too many/, ""],
  [/^bad user name or password/, "unauthenticated"],
  [/^identifier rejected/, "client-id-refused"],
  [/^unacceptable protocol version/, "protocol-version"],
  [/^connect did not arrive in time/, "connect-timeout"],
  [/^keep alive timeout/, "keepalive-timeout"],
  [/^drain timeout/, "slow-reader"],
  [/^maxInflightInbound/, "half-open-qos2"],
  [/^connection closed|premature close|write after end/i, ""],
];

/** Codes that say that a message was refused, not the connection. */
const messageCodes = new Set([
  "invalid-entry",
  "stream-unknown",
  "forbidden",
  "durability-short",
  "disk-full",
  "storage-failed",
  "level-impossible",
  "producers-too-many",
]);

/** Undefined for a connection that just ended, by a reset for example. */
export function refusalReason(error: Error): string | undefined {
  if (error instanceof SkerryError)
    return messageCodes.has(error.code) ? "message-refused" : error.code;
  if ("code" in error && typeof error.code === "string") return undefined;
  const known = reasonByWords.find(([words]) => words.test(error.message));
  // The parser's own complaints: a malformed packet, in its words.
  return known ? known[1] || undefined : "invalid-packet";
}
