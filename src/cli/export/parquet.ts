/**
 * Parquet (parquet.apache.org/docs/file-format): a row group a piece, typed columns, and a footer that
 * says where all of them are, written last. What the footer will say of each group is noted beside the
 * file, so an export that was cut short keeps them. Types are those of the first group; a value that
 * does not fit its column stands in `other`, as do fields that come up later: nothing is lost or rounded
 * to fit.
 */
import { ByteWriter, ParquetWriter, schemaFromColumnData } from "hyparquet-writer";
import type { Json } from "../../lib/json.ts";
import { labelsOf, namedOf, type Encoder, type Line } from "./encoder.ts";

type ColumnType = "BOOLEAN" | "DOUBLE" | "INT64" | "JSON" | "STRING" | "TIMESTAMP";
type Column = {
  readonly label: string;
  readonly type: ColumnType;
  /** In the body; otherwise the entry's own. */
  readonly field?: string;
};
type Group = ParquetWriter["row_groups"][number];
type State = { readonly columns: readonly Column[] };

/** A group of them is unpacked whole by who reads it. */
const entriesPerGroup = 50_000;

const ownTypes: Readonly<Record<string, ColumnType>> = {
  at: "TIMESTAMP",
  epoch: "INT64",
  sequence: "INT64",
  position: "INT64",
};

/** `state`, `notes`: of the run before. */
export function parquetEncoder(
  query: Readonly<Record<string, string>>,
  { state, notes }: { state: Json; notes: readonly string[] },
): Encoder {
  const named = namedOf(query);
  let columns = (state as State | null)?.columns;
  let open: { bytes: ByteWriter; file: ParquetWriter } | undefined;

  /** Goes on at this place; at the beginning of a file with what stands there. */
  const opened = (at: number) => {
    columns ??= ownColumns(named);
    if (open) {
      open.bytes.index = 0;
      return open;
    }
    const bytes = new ByteWriter();
    const schema = schemaFromColumnData({
      columnData: columns.map((column) => dataOf(column, [])),
    });
    const file = new ParquetWriter({
      writer: bytes,
      schema,
      statistics: false,
      createdBy: "skerry data export",
    });
    if (at > 0) {
      bytes.index = 0;
      bytes.offset = at;
      file.row_groups = notes.map(groupOf);
      file.num_rows = file.row_groups.reduce((sum, { num_rows: rows }) => sum + rows, 0n);
    }
    open = { bytes, file };
    return open;
  };

  return {
    entriesPerPiece: entriesPerGroup,
    encode(entries, at) {
      if (entries.length === 0) return { bytes: new Uint8Array() };
      columns ??= [...ownColumns(named).slice(0, -1), ...fieldColumns(named, entries), other];
      const { bytes, file } = opened(at);
      const table = columns;
      const rows = entries.map((entry) => rowOf(entry, table));
      void file.write({
        columnData: table.map((column, index) =>
          dataOf(
            column,
            rows.map((row) => row[index]),
          ),
        ),
        rowGroupSize: entries.length,
      });
      const group = file.row_groups.at(-1);
      return {
        bytes: new Uint8Array(bytes.getBytes()),
        ...(group ? { note: textOf(group) } : {}),
      };
    },
    get state() {
      return columns ? ({ columns } satisfies State as unknown as Json) : null;
    },
    end(at) {
      const { bytes, file } = opened(at);
      void file.finish();
      return new Uint8Array(bytes.getBytes());
    },
  };
}

const other: Column = { label: "other", type: "JSON" };
const ownColumns = (named: readonly string[]): readonly Column[] => [
  ...named.map((label): Column => ({ label, type: ownTypes[label] ?? "STRING" })),
  other,
];

function fieldColumns(named: readonly string[], entries: readonly Line[]): readonly Column[] {
  const fields = [...new Set(entries.flatMap(({ body }) => Object.keys(body)))];
  const labels = labelsOf(named, fields);
  return fields.map((field, index) => {
    const kinds = new Set(
      entries.flatMap(({ body }) => (body[field] == null ? [] : typeof body[field])),
    );
    const [kind] = kinds;
    const type: ColumnType =
      kinds.size !== 1
        ? "JSON"
        : kind === "number"
          ? "DOUBLE"
          : kind === "boolean"
            ? "BOOLEAN"
            : kind === "string"
              ? "STRING"
              : "JSON";
    return { label: labels[index] ?? field, type, field };
  });
}

const jsTypes: Partial<Record<ColumnType, string>> = {
  BOOLEAN: "boolean",
  DOUBLE: "number",
  STRING: "string",
};

/** Values in the order of the columns; what fits none is in the last one. */
function rowOf({ body, ...entry }: Line, columns: readonly Column[]): unknown[] {
  const own = entry as Readonly<Record<string, Json>>;
  const rest = new Map(Object.entries(body));
  const values = columns.slice(0, -1).map(({ label, type, field }): unknown => {
    if (field === undefined) {
      const value = own[label] ?? null;
      if (value === null || type === "STRING") return value;
      return type === "TIMESTAMP" ? new Date(String(value)) : BigInt(Number(value));
    }
    const value = body[field];
    const fits = type === "JSON" || typeof value === jsTypes[type];
    if (fits || value === null) rest.delete(field);
    return value !== undefined && fits ? value : null;
  });
  return [...values, rest.size > 0 ? Object.fromEntries(rest) : null];
}

const dataOf = ({ label, type }: Column, data: unknown[]) => ({
  name: label,
  type,
  data,
  nullable: true,
  offsetIndex: false,
});

/** Counts and places in a footer are 64 bits wide, which JSON is not. */
const textOf = (group: Group): string =>
  JSON.stringify(group, (_name, value: unknown) =>
    typeof value === "bigint" ? { bigint: String(value) } : value,
  );
const groupOf = (text: string): Group =>
  JSON.parse(text, (_name, value: unknown) =>
    typeof value === "object" && value !== null && "bigint" in value
      ? BigInt(String(value.bigint))
      : value,
  ) as Group;
