/** NDJSON and CSV. A table's columns are fixed by the first entries; what comes up later goes into `other`. */
import type { Json } from "../../lib/json.ts";
import { csvValue } from "../output.ts";
import { labelsOf, namedOf, type Encoder, type Line } from "./encoder.ts";

const nothing = () => new Uint8Array();

export const ndjsonEncoder = (): Encoder => ({
  entriesPerPiece: 1,
  encode: (entries) => ({
    bytes: Buffer.from(entries.map((entry) => `${JSON.stringify(entry)}\n`).join("")),
  }),
  state: null,
  end: nothing,
});

/** `state`: of the run before, the fields that are columns. */
export function csvEncoder(query: Readonly<Record<string, string>>, state: Json): Encoder {
  const named = namedOf(query);
  let fields = Array.isArray(state) ? state.map(String) : undefined;
  const lineOf = ({ body, ...entry }: Line, columns: readonly string[]): string => {
    const known = new Set(columns);
    const rest = Object.entries(body).filter(([field]) => !known.has(field));
    const values = [
      ...named.map((name) => (entry as Readonly<Record<string, Json>>)[name]),
      ...columns.map((name) => body[name]),
      rest.length === 0 ? undefined : Object.fromEntries(rest),
    ];
    return `${values.map(csvValue).join(",")}\n`;
  };
  return {
    entriesPerPiece: 1,
    encode(entries, at) {
      if (entries.length > 0)
        fields ??= [...new Set(entries.flatMap(({ body }) => Object.keys(body)))];
      const columns = fields ?? [];
      const labels = [...named, ...labelsOf(named, columns), "other"];
      const head = at === 0 && fields ? `${labels.map(csvValue).join(",")}\n` : "";
      const lines = entries.map((entry) => lineOf(entry, columns));
      return { bytes: Buffer.from(head + lines.join("")) };
    },
    get state() {
      return fields ?? null;
    },
    end: nothing,
  };
}
