/**
 * Conditions as text, for people: `status = "open" and (total > 100 or tags contains "gift")`. What
 * is wrong is told with its place. Values only ever become values: nothing of this is SQL.
 *
 *   condition  = both { "or" both }
 *   both       = one { "and" one }
 *   one        = "not" one | "(" condition ")" | field test
 *   test       = ( "=" | "!=" | "<" | "<=" | ">" | ">=" | "contains" ) value
 *              | "in" "(" value { "," value } ")" | "prefix" text | "exists"
 *   field      = id | total | address.city | /any/JSON~1pointer | "/pointer with spaces"
 *   value      = JSON; text may stand in single quotes too
 */
import { parsePath } from "../../api/records/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { objectOf, type Json, type JsonObject } from "../documents/json.ts";

type Token = {
  readonly kind: "word" | "pointer" | "text" | "number" | "sign" | "end";
  readonly text: string;
  readonly at: number;
};

const textMax = 16 * 1024;
const depthMax = 32;
const comparisons = ["=", "!=", "<", "<=", ">", ">="] as const;
const patterns = [
  ["text", /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/suy],
  ["number", /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\p{L}\p{N}_])/uy],
  ["word", /[\p{L}\p{N}_][\p{L}\p{N}_-]*(?:\.[\p{L}\p{N}_][\p{L}\p{N}_-]*)*/uy],
  ["pointer", /\/[^\s=<>!(),"'[\]{}]*/uy],
  ["sign", /!=|<=|>=|[=<>(),:[\]{}]/uy],
] as const;

/** The condition as a program would send it, for `check.ts`. Throws `invalid-query` with the place. */
export function parseExpression(text: string): JsonObject {
  if (text.length > textMax) throw wrong(text, textMax, `is longer than ${textMax} characters`);
  const tokens = tokensOf(text);
  let next = 0;
  const peek = (): Token => tokens[next] as Token;
  const take = (): Token => {
    const token = peek();
    if (token.kind !== "end") next++;
    return token;
  };
  const isNext = (word: string): boolean =>
    peek().text === word && (peek().kind === "word" || peek().kind === "sign");
  const accept = (word: string): boolean => isNext(word) && (take(), true);
  const expected = (what: string): SkerryError => {
    const { kind, at, text: found } = peek();
    const instead = kind === "end" ? "the end" : found;
    return wrong(text, at, `expected ${what}, found ${instead.slice(0, 40)}`);
  };
  const require = (sign: string) => {
    if (!accept(sign)) throw expected(`"${sign}"`);
  };

  const condition = (depth: number): JsonObject => joined("or", depth, () => both(depth));
  const both = (depth: number): JsonObject => joined("and", depth, () => one(depth));
  const joined = (op: "and" | "or", depth: number, part: () => JsonObject): JsonObject => {
    if (depth > depthMax) throw wrong(text, peek().at, `nested more than ${depthMax} deep`);
    const of = [part()];
    while (accept(op)) of.push(part());
    return of.length === 1 ? (of[0] as JsonObject) : { op, of };
  };
  const one = (depth: number): JsonObject => {
    if (accept("not")) return { op: "not", of: deeper(depth, one) };
    if (!accept("(")) return test(field());
    const inner = condition(depth + 1);
    require(")");
    return inner;
  };
  const deeper = <T>(depth: number, parse: (depth: number) => T): T => {
    if (depth >= depthMax) throw wrong(text, peek().at, `nested more than ${depthMax} deep`);
    return parse(depth + 1);
  };
  const field = (): string => {
    const token = peek();
    const { kind } = token;
    const written =
      kind === "text" ? unquoted(text, token) : kind === "sign" || kind === "end" ? "" : token.text;
    // Text in the place of a field is a pointer; as a name it could be meant for a value.
    if ((kind === "text" && !written.startsWith("/")) || !parsePath(written))
      throw expected("a field such as total, address.city or /address/city");
    take();
    return written;
  };
  const test = (path: string): JsonObject => {
    if (accept("exists")) return { op: "exists", path };
    if (accept("contains")) return { op: "contains", path, value: value(0) };
    if (accept("prefix")) {
      const token = peek();
      if (token.kind !== "text") throw expected('text such as "abc"');
      take();
      const value = unquoted(text, token);
      if (!value.isWellFormed()) throw wrong(text, token.at, "half a character is no prefix");
      return { op: "prefix", path, value };
    }
    if (accept("in")) {
      require("(");
      const values = listed(")", () => value(0));
      return { op: "in", path, values };
    }
    const op = comparisons.find((comparison) => comparison === peek().text);
    if (!op || peek().kind !== "sign")
      throw expected("=, !=, <, <=, >, >=, in, contains, prefix or exists");
    take();
    const { at } = peek();
    const wanted = value(0);
    if (op !== "=" && op !== "!=" && (typeof wanted === "object" || wanted === null))
      throw wrong(text, at, `${op} compares numbers, text, true and false`);
    return { op, path, value: wanted };
  };
  const listed = <T>(end: string, part: () => T): T[] => {
    const parts: T[] = [];
    if (accept(end)) return parts;
    do parts.push(part());
    while (accept(","));
    require(end);
    return parts;
  };
  const value = (depth: number): Json => {
    const token = peek();
    if (token.kind === "text") return take() && unquoted(text, token);
    if (token.kind === "number") return take() && numberOf(text, token);
    if (accept("true")) return true;
    if (accept("false")) return false;
    if (accept("null")) return null;
    if (accept("[")) return deeper(depth, (inner) => listed("]", () => value(inner)));
    if (accept("{")) {
      return deeper(depth, (inner) =>
        objectOf(
          listed("}", () => {
            const name = peek();
            if (name.kind !== "text") throw expected('a name such as "total"');
            take();
            require(":");
            return [unquoted(text, name), value(inner)] as const;
          }),
        ),
      );
    }
    throw expected('a value: "text", a number, true, false or null');
  };

  const whole = condition(0);
  if (peek().kind !== "end") throw expected("and, or, or the end");
  return whole;
}

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; ;) {
    while (/\s/.test(text[at] ?? "")) at++;
    if (at >= text.length) return [...tokens, { kind: "end", text: "", at: text.length }];
    const found = patterns
      .map(([kind, pattern]) => {
        pattern.lastIndex = at;
        const match = pattern.exec(text);
        return match && { kind, text: match[0], at };
      })
      .find((token) => token !== null);
    if (!found) {
      const isOpen = text[at] === '"' || text[at] === "'";
      throw wrong(text, at, isOpen ? "text without its end" : `"${text[at]}" has no meaning here`);
    }
    tokens.push(found);
    at += found.text.length;
  }
}

/** Escapes as in JSON, in single quotes also `\'`. */
function unquoted(source: string, { text, at }: Token): string {
  const inner = text.slice(1, -1);
  const json = text.startsWith('"')
    ? text
    : `"${inner.replaceAll(/\\?['"]/g, (quote) => (quote.endsWith("'") ? "'" : '\\"'))}"`;
  try {
    return JSON.parse(json) as string;
  } catch {
    throw wrong(source, at, "this text is not as JSON writes it (escapes, control characters)");
  }
}

function numberOf(source: string, { text, at }: Token): number {
  const number = Number(text);
  if (!Number.isFinite(number)) throw wrong(source, at, `${text} is past 1.8e308`);
  return number;
}

function wrong(text: string, at: number, problem: string): SkerryError {
  return new SkerryError({
    code: "invalid-query",
    message: `where, character ${at + 1}: ${problem}`,
    hint: `${text.slice(Math.max(0, at - 60), at)}⟵ here`,
    details: { at },
  });
}
