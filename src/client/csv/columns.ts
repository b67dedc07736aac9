/**
 * What the columns of a CSV file are: number, boolean, text, and which one tells the time. Decided
 * over the whole file, so that a column has one type in every entry. Pure.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { CsvRow } from "./parse.ts";

export type ColumnType = "number" | "boolean" | "text";

export type Columns = {
  readonly names: readonly string[];
  readonly types: readonly ColumnType[];
  /** Index of the column that becomes the entry's time; undefined when there is none. */
  readonly time: number | undefined;
};

const timeNames = ["timestamp", "time", "datetime", "date", "ts"];
/** 16 digits and more do not fit a double: such a column stays text. */
const numberPattern = /^-?(?:0|[1-9]\d{0,14})(?:\.\d+)?(?:[eE][+-]?\d{1,3})?$/;
const booleanPattern = /^(?:true|false)$/i;
const isoPattern =
  /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?) ?(Z|[+-]\d\d:?\d\d)?)?$/;

export interface ColumnReader {
  /** Throws `invalid-csv` naming the line. */
  add(row: CsvRow): void;
  /** Throws `invalid-csv` when there was no header. */
  finish(): Columns;
}

export function createColumnReader(): ColumnReader {
  let names: readonly string[] | undefined;
  let isNumber: boolean[] = [];
  let isBoolean: boolean[] = [];
  let isTime: boolean[] = [];
  let isEmpty: boolean[] = [];
  return {
    add({ line, fields }) {
      if (!names) {
        names = checkHeader(line, fields);
        isNumber = names.map(() => true);
        isBoolean = names.map(() => true);
        isTime = names.map((name) => timeNames.includes(name.toLowerCase()));
        isEmpty = names.map(() => true);
        return;
      }
      checkWidth(line, fields, names);
      for (const [index, field] of fields.entries()) {
        if (field === "") {
          // An entry without its time would get the time of the import.
          isTime[index] = false;
          continue;
        }
        isEmpty[index] = false;
        if (isNumber[index] && !numberPattern.test(field)) isNumber[index] = false;
        if (isBoolean[index] && !booleanPattern.test(field)) isBoolean[index] = false;
        if (isTime[index] && parseTimeMs(field) === undefined) isTime[index] = false;
      }
    },
    finish() {
      if (!names) throw new SkerryError({ code: "invalid-csv", message: "the file is empty" });
      const lowerCase = names.map((name) => name.toLowerCase());
      const time = timeNames
        .map((name) => lowerCase.indexOf(name))
        .find((index) => index >= 0 && isTime[index] && !isEmpty[index]);
      const types = names.map((_, index): ColumnType => {
        if (isEmpty[index]) return "text";
        if (isNumber[index]) return "number";
        return isBoolean[index] ? "boolean" : "text";
      });
      return { names, types, time };
    },
  };
}

function checkHeader(line: number, fields: readonly string[]): readonly string[] {
  const names = fields.map((field) => field.trim());
  const bad = (message: string) =>
    new SkerryError({
      code: "invalid-csv",
      message: `line ${line}: ${message}`,
      hint: "the first line names the columns",
    });
  const empty = names.indexOf("");
  if (empty >= 0) throw bad(`column ${empty + 1} has no name`);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw bad(`two columns are called "${twice}"`);
  const reserved = names.find((name) => name.startsWith("$"));
  if (reserved !== undefined) throw bad(`column "${reserved}": names with $ are reserved`);
  return names;
}

function checkWidth(line: number, fields: readonly string[], names: readonly string[]): void {
  if (fields.length === names.length) return;
  throw new SkerryError({
    code: "invalid-csv",
    message: `line ${line}: ${fields.length} fields, the header names ${names.length}`,
  });
}

/** Body and time of one row; an empty field is left out. */
export function entryOf(
  columns: Columns,
  fields: readonly string[],
): { readonly body: Record<string, unknown>; readonly atMs?: number } {
  const body: Record<string, unknown> = {};
  for (const [index, name] of columns.names.entries()) {
    const field = fields[index] ?? "";
    if (field === "") continue;
    // defineProperty, because a column may be called __proto__.
    Object.defineProperty(body, name, {
      value: valueOf(columns.types[index] ?? "text", field),
      enumerable: true,
    });
  }
  const atMs = columns.time === undefined ? undefined : parseTimeMs(fields[columns.time] ?? "");
  return atMs === undefined ? { body } : { body, atMs };
}

function valueOf(type: ColumnType, field: string): unknown {
  switch (type) {
    case "number":
      return Number(field);
    case "boolean":
      return field.toLowerCase() === "true";
    case "text":
      return field;
  }
}

/** Numbers above are milliseconds since 1970, below seconds (1973 in the one, 5138 in the other). */
const secondsMax = 1e11;

/** ISO 8601 (without a zone: UTC), or seconds or milliseconds since 1970; undefined for anything else. */
export function parseTimeMs(text: string): number | undefined {
  const iso = isoPattern.exec(text);
  if (iso) {
    const time = (iso[2] ?? "00:00").replace(",", ".");
    const ms = Date.parse(`${iso[1]}T${time}${iso[3] ?? "Z"}`);
    return Number.isNaN(ms) || ms < 0 ? undefined : ms;
  }
  if (!/^\d{9,13}(?:\.\d+)?$/.test(text)) return undefined;
  const number = Number(text);
  return Math.round(number < secondsMax ? number * 1000 : number);
}
