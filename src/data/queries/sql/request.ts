/** One SQL statement as it is asked for, and how it is answered. */
import { SkerryError } from "../../../lib/errors.ts";
import { isObject, type Json } from "../../documents/json.ts";
import { checkTime } from "../check.ts";

export type SqlQuery = {
  readonly sql: string;
  /** Of entries that a statement sees: inclusive; the end is not. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly limit: number;
  readonly timeoutMs: number;
};

/** What may be asked about besides what has left something on the disk. */
export type SqlDeclared = {
  readonly collections: readonly {
    readonly name: string;
    /** JSON pointers of declared fields: columns. */
    readonly fields: readonly string[];
  }[];
  readonly streams: readonly string[];
};

export type SqlAnswer = {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly SqlValue[])[];
  /** The statement has more rows than are answered. */
  readonly more: boolean;
};

/** Whole numbers that JSON does not hold exactly, and bytes (in hexadecimal), are text. */
export type SqlValue = string | number | null;

const sqlBytesMax = 100_000;
export const sqlRowsMax = 10_000;
const rowsDefault = 1000;
const timeoutMsDefault = 5000;
const timeoutMsMax = 60_000;
const known = ["sql", "from", "to", "limit", "timeoutMs"];

/** Throws `invalid-query`. */
export function checkSqlRequest(request: Json | undefined): SqlQuery {
  if (!isObject(request)) throw invalid("body", 'must be an object such as {"sql":"select 1"}');
  const unknown = Object.keys(request).find((name) => !known.includes(name));
  if (unknown !== undefined) throw invalid(unknown, `is not known; ${known.join(", ")} are`);
  const { sql } = request;
  if (typeof sql !== "string" || sql.trim() === "" || Buffer.byteLength(sql) > sqlBytesMax)
    throw invalid("sql", `must be a statement of at most ${sqlBytesMax} bytes`);
  const count = (name: "limit" | "timeoutMs", otherwise: number, max: number): number => {
    const value = request[name] ?? otherwise;
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 1 && value <= max)
      return value;
    throw invalid(name, `${JSON.stringify(value)} must be a whole number from 1 to ${max}`);
  };
  return {
    sql,
    fromMs: checkTime("from", request["from"]) ?? 0,
    toMs: checkTime("to", request["to"]) ?? Number.MAX_SAFE_INTEGER,
    limit: count("limit", rowsDefault, sqlRowsMax),
    timeoutMs: count("timeoutMs", timeoutMsDefault, timeoutMsMax),
  };
}

const invalid = (name: string, problem: string) =>
  new SkerryError({ code: "invalid-query", message: `${name}: ${problem}` });
