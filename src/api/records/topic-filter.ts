/**
 * Topic filters of a Stream: those of MQTT 3.1.1, section 4.7, in which a level may have a name.
 * `shop/{shop}/weight` matches as `shop/+/weight`, and what stands there becomes the field `shop` of
 * the entry.
 */
export type TopicFilter = {
  /** Of MQTT: `+` where a level has a name. */
  readonly levels: readonly string[];
  /** The place of each level that has a name, by it. */
  readonly fields: readonly { readonly name: string; readonly level: number }[];
};

const namedLevel = /^\{([^{}]*)\}$/;
const fieldName = /^[A-Za-z][A-Za-z0-9_]{0,62}$/;
/** Under these a payload that is no JSON object is stored. */
const namesOfPayload: ReadonlySet<string> = new Set(["value", "encoding"]);

/** Of a filter that has no `topicFilterProblem`. */
export function parseTopicFilter(text: string): TopicFilter {
  const levels = text.split("/");
  const names = levels.map((level) => namedLevel.exec(level)?.[1]);
  return {
    levels: levels.map((level, index) => (names[index] === undefined ? level : "+")),
    fields: names.flatMap((name, level) => (name === undefined ? [] : [{ name, level }])),
  };
}

/** What is wrong with it, to be read behind its text; undefined when nothing is. */
export function topicFilterProblem(text: string): string | undefined {
  if (text === "" || text.includes("\0"))
    return 'is not an MQTT topic filter: "+" stands for one whole level, "#" for the rest';
  const { levels, fields } = parseTopicFilter(text);
  for (const [index, level] of levels.entries()) {
    if (level === "+" || (level === "#" && index === levels.length - 1)) continue;
    if (/[+#]/.test(level))
      return 'is not an MQTT topic filter: "+" stands for one whole level, "#" for the rest';
    if (/[{}]/.test(level))
      return `names a part of a level: "{NAME}" stands for one whole level, as in shop/{shop}/weight`;
  }
  const seen = new Set<string>();
  for (const { name } of fields) {
    if (!fieldName.test(name))
      return `names a level "${name}": a name is a letter, then up to 62 letters, digits and "_"`;
    if (namesOfPayload.has(name))
      return `names a level "${name}": under this name a payload that is no JSON object is stored`;
    if (seen.has(name)) return `names two levels "${name}"`;
    seen.add(name);
  }
  return undefined;
}
