/**
 * The header of a batch, looked at by hand: a schema library for this one record would cost the storage
 * thread more memory than all of its own code.
 */
import type { EgressPolicy } from "../../api/index.ts";
import { producerBytesMax } from "../streams/check.ts";

const entriesMax = 20_000;
const nameLengthMax = 253;

/** Columns are parallel: one value for each entry. */
const columns = ["stream", "producer", "epoch", "sequence", "at", "position", "length"] as const;

export type Header = Readonly<Record<(typeof columns)[number], readonly number[]>> & {
  readonly origin: string;
  readonly from: number;
  readonly to: number;
  readonly streams: readonly string[];
  readonly producers: readonly string[];
  readonly policies?: Readonly<Record<string, EgressPolicy>>;
};

type Check = (value: unknown) => boolean;

const isName: Check = (value) =>
  typeof value === "string" && value.length >= 1 && value.length <= nameLengthMax;
const isProducer: Check = (value) =>
  typeof value === "string" && value !== "" && Buffer.byteLength(value) <= producerBytesMax;
const isText: Check = (value) => typeof value === "string";
const atLeast =
  (min: number): Check =>
  (value) =>
    Number.isSafeInteger(value) && (value as number) >= min;
const listOf =
  (check: Check, lengthMax = Number.POSITIVE_INFINITY): Check =>
  (value) =>
    Array.isArray(value) && value.length <= lengthMax && value.every(check);
const areDifferent: Check = (value) => Array.isArray(value) && new Set(value).size === value.length;
const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isPolicy: Check = (value) =>
  isRecord(value) &&
  Object.entries(value).every(
    ([field, names]) => (field === "keep" || field === "drop") && listOf(isText)(names),
  );
const arePolicies: Check = (value) =>
  value === undefined ||
  (isRecord(value) &&
    Object.entries(value).every(([name, policy]) => isName(name) && isPolicy(policy)));

const column = listOf(Number.isSafeInteger as Check, entriesMax);
const checks: Readonly<Record<keyof Header, Check>> = {
  origin: isName,
  from: atLeast(1),
  to: atLeast(0),
  streams: (value) => listOf(isName)(value) && areDifferent(value),
  producers: listOf(isProducer),
  stream: column,
  producer: column,
  epoch: column,
  sequence: column,
  at: column,
  position: column,
  length: column,
  policies: arePolicies,
};

/** What is wrong with it, by field; undefined for a `Header`. */
export function headerProblem(json: unknown): string | undefined {
  if (!isRecord(json)) return "the header is no object";
  const unknown = Object.keys(json).find((field) => !Object.hasOwn(checks, field));
  if (unknown !== undefined) return `${unknown}: this field is not known`;
  const wrong = Object.entries(checks).find(([field, check]) => !check(json[field]));
  return wrong && `${wrong[0]}: this value is not allowed`;
}
