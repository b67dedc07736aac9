/**
 * A protobuf message to the JSON that Kubernetes would have made of it: zero values of fields that
 * are no pointers in Go stand for "not given". A field that the table lacks is refused when it says
 * something, so that nothing a client wrote is lost in silence.
 */
import { badRequest } from "../status.ts";
import { messages } from "./messages.ts";
import { readFields, readText, tryReadFields, type WireField } from "./wire.ts";

type FieldRule = {
  readonly name: string;
  readonly type: string;
  readonly shape: "one" | "list" | "map";
  readonly isPointer: boolean;
  /** The fields of this message belong to the one around it. */
  readonly isInline: boolean;
};

const rulesByMessage = new Map<string, ReadonlyMap<number, FieldRule>>();

function rulesOf(message: string): ReadonlyMap<number, FieldRule> | undefined {
  const known = rulesByMessage.get(message);
  const text = messages[message];
  if (known || text === undefined) return known;
  const rules = new Map(text.split(", ").map(parseRule));
  rulesByMessage.set(message, rules);
  return rules;
}

function parseRule(text: string): [number, FieldRule] {
  const match = /^(\d+) ([A-Za-z0-9]+|\^)(\*?):(\[\]|\{\}|)([A-Za-z0-9]+)$/.exec(text);
  if (!match) throw new Error(`the protobuf table holds an unreadable rule: "${text}"`);
  const [, number, name = "", pointer, shape, type = ""] = match;
  const rule: FieldRule = {
    name,
    type,
    shape: shape === "[]" ? "list" : shape === "{}" ? "map" : "one",
    isPointer: pointer === "*",
    isInline: name === "^",
  };
  return [Number(number), rule];
}

/** Statuses of Kubernetes nest no deeper. */
const zeroDepthMax = 8;

export const isKnownMessage = (message: string) => Object.hasOwn(messages, message);

/** Throws StatusError 400, naming the field. */
export function decodeMessage(
  message: string,
  bytes: Uint8Array,
  path = message,
): Record<string, unknown> {
  const rules = rulesOf(message);
  if (!rules) throw badRequest(`${path}: protobuf of ${message} is not read here; send JSON`);
  const result: Record<string, unknown> = {};
  for (const field of readFields(bytes, path)) {
    const rule = rules.get(field.number);
    if (!rule) {
      if (isZero(field)) continue;
      throw badRequest(`${path}: field number ${field.number} of ${message} is not supported here`);
    }
    readField(result, rule, field, rule.isInline ? path : `${path}.${rule.name}`);
  }
  return result;
}

function readField(
  result: Record<string, unknown>,
  rule: FieldRule,
  field: WireField,
  path: string,
): void {
  if (rule.isInline) {
    Object.assign(result, decodeMessage(rule.type, bytesOf(field, path), path));
    return;
  }
  if (rule.shape === "list") {
    const list = (result[rule.name] ??= []) as unknown[];
    list.push(decodeValue(rule.type, field, path));
    return;
  }
  if (rule.shape === "map") {
    const map = (result[rule.name] ??= {}) as Record<string, unknown>;
    const entry = readFields(bytesOf(field, path), path);
    const key = entry.find(({ number }) => number === 1);
    const value = entry.find(({ number }) => number === 2);
    const name = key ? readText(bytesOf(key, path), path) : "";
    const empty: WireField = { number: 2, value: new Uint8Array() };
    Object.defineProperty(map, name, {
      value: decodeValue(rule.type, value ?? empty, `${path}[${name}]`),
      enumerable: true,
      configurable: true,
      writable: true,
    });
    return;
  }
  const value = decodeValue(rule.type, field, path);
  if (rule.isPointer || !isEmpty(value, rule.type)) result[rule.name] = value;
}

function decodeValue(type: string, field: WireField, path: string): unknown {
  switch (type) {
    case "string":
      return readText(bytesOf(field, path), path);
    case "int":
      return Number(BigInt.asIntN(64, numberOf(field, path)));
    case "bool":
      return numberOf(field, path) !== 0n;
    case "bytes":
      return Buffer.from(bytesOf(field, path)).toString("base64");
    case "Quantity": {
      const [text] = readFields(bytesOf(field, path), path);
      return text ? readText(bytesOf(text, path), path) : "";
    }
    case "Time":
    case "MicroTime":
      return timeOf(bytesOf(field, path), path, type === "MicroTime");
    case "IntOrString":
      return intOrString(bytesOf(field, path), path);
    case "RawJson": {
      const [raw] = readFields(bytesOf(field, path), path);
      return raw ? parseRaw(readText(bytesOf(raw, path), path), path) : {};
    }
    default:
      return decodeMessage(type, bytesOf(field, path), path);
  }
}

function bytesOf(field: WireField, path: string): Uint8Array {
  if (typeof field.value !== "bigint") return field.value;
  throw badRequest(`${path}: the protobuf body holds a number where bytes belong`);
}

function numberOf(field: WireField, path: string): bigint {
  if (typeof field.value === "bigint") return field.value;
  throw badRequest(`${path}: the protobuf body holds bytes where a number belongs`);
}

/** Seconds and nanoseconds since 1970; the zero time is an empty message. */
function timeOf(bytes: Uint8Array, path: string, micro: boolean): string {
  const fields = readFields(bytes, path);
  if (fields.length === 0) return "";
  const part = (number: number) => {
    const field = fields.find((one) => one.number === number);
    return field ? Number(BigInt.asIntN(64, numberOf(field, path))) : 0;
  };
  const date = new Date(part(1) * 1000);
  if (Number.isNaN(date.getTime())) throw badRequest(`${path}: is a time out of range`);
  const seconds = date.toISOString().slice(0, 19);
  if (!micro) return `${seconds}Z`;
  const micros = Math.floor(part(2) / 1000);
  return `${seconds}.${String(micros).padStart(6, "0")}Z`;
}

function intOrString(bytes: Uint8Array, path: string): number | string {
  const fields = readFields(bytes, path);
  const part = (number: number) => fields.find((one) => one.number === number);
  const [type, int, text] = [part(1), part(2), part(3)];
  const isText = type !== undefined && numberOf(type, path) === 1n;
  if (isText) return text ? readText(bytesOf(text, path), path) : "";
  return int ? Number(BigInt.asIntN(64, numberOf(int, path))) : 0;
}

function parseRaw(text: string, path: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw badRequest(`${path}: holds JSON that cannot be read`);
  }
}

/** Go writes every field that is no pointer, however empty: a status of zeros says nothing. */
function isZero({ value }: WireField, depth = 0): boolean {
  if (typeof value === "bigint") return value === 0n;
  if (value.length === 0) return true;
  const inner = depth < zeroDepthMax ? tryReadFields(value) : undefined;
  return inner !== undefined && inner.every((field) => isZero(field, depth + 1));
}

function isEmpty(value: unknown, type: string): boolean {
  if (value === "" || value === 0 || value === false) return true;
  if (type === "Quantity") return value === "0";
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
