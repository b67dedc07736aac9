/** Topic names and filters: what may be one (MQTT 5, section 4.7), and shared subscriptions (4.8.2). */
import { SkerryError } from "../../lib/errors.ts";
import { topicBytesMax, topicLevelsMax } from "./limits.ts";

const invalid = (topic: string, message: string) =>
  new SkerryError({
    code: "invalid-packet",
    message: `topic ${JSON.stringify(topic.slice(0, 80))}: ${message}`,
  });

/** What stands against a topic name, or (`isFilter`) a topic filter; undefined for nothing. */
export function topicProblem(topic: string, isFilter = false): SkerryError | undefined {
  const bytes = Buffer.byteLength(topic);
  if (bytes === 0) return invalid(topic, "is empty");
  if (bytes > topicBytesMax) return invalid(topic, `${bytes} bytes long; at most ${topicBytesMax}`);
  if (topic.startsWith("$")) return invalid(topic, "topics that begin with $ are the broker's");
  // MQTT-1.5.3-2
  if (topic.includes("\u0000")) return invalid(topic, "holds the character U+0000");
  // What stands where the bytes were not UTF-8 (MQTT-1.5.4-1).
  if (topic.includes("\ufffd")) return invalid(topic, "is not UTF-8");
  const levels = topic.split("/");
  if (levels.length > topicLevelsMax) return invalid(topic, `at most ${topicLevelsMax} levels`);
  if (!isFilter)
    return /[#+]/.test(topic) ? invalid(topic, "# and + are for subscriptions") : undefined;
  const misplaced = levels.some(
    (level, i) =>
      (level.length > 1 && /[#+]/.test(level)) || (level === "#" && i < levels.length - 1),
  );
  return misplaced ? invalid(topic, "+ is a whole level, # the whole rest") : undefined;
}

export type Filter = { readonly filter: string; readonly group?: string };

/** What a client subscribed to: a filter, or `$share/GROUP/FILTER`. */
export function parseFilter(
  text: string,
): { readonly ok: true; readonly value: Filter } | { readonly ok: false; error: SkerryError } {
  const shared = /^\$share\/([^/#+]+)\/(.*)$/s.exec(text);
  const [filter, group] = shared ? [shared[2] ?? "", shared[1]] : [text, undefined];
  const error =
    topicProblem(filter, true) ??
    (Buffer.byteLength(text) > topicBytesMax ? invalid(text, "is too long") : undefined);
  if (error) return { ok: false, error };
  return { ok: true, value: group === undefined ? { filter } : { filter, group } };
}
