/**
 * A request's body as text, unless it is larger than any node takes: then that is said before the text is
 * made, for a text of a gigabyte costs its memory, and past 512 MiB there is none in JavaScript at all.
 */
import { SkerryError } from "../lib/errors.ts";

/** What gateways take at most. */
const bodyBytesMax = 4 * 1024 * 1024;
/** No JSON of ours is deeper; what is goes round in a circle, which `JSON.stringify` says better. */
const depthMax = 1000;

/** Throws `body-too-large`, and what `JSON.stringify` throws. */
export function jsonBody(value: unknown): string {
  requireSendable([value]);
  return JSON.stringify(value);
}

/** A line each. Throws as `jsonBody`. */
export function lineBody(lines: readonly string[]): string {
  requireSendable(lines);
  return `${lines.join("\n")}\n`;
}

/** Throws `body-too-large` where all of these together cannot be sent. */
export function requireSendable(values: readonly unknown[]): void {
  if (!isLarger(values, bodyBytesMax)) return;
  throw new SkerryError({
    code: "body-too-large",
    message: `the body is too large: more than ${bodyBytesMax} bytes`,
    hint: `a request is at most ${bodyBytesMax} bytes: send several; what is one large file belongs beside the store, with its place in the document`,
  });
}

type Part = { readonly value: unknown; readonly depth: number };

/** By the least that each value takes as JSON in UTF-8; looks at no more than it takes to know. */
function isLarger(values: readonly unknown[], bytesMax: number): boolean {
  let bytes = 0;
  const parts: Part[] = values.map((value) => ({ value, depth: 0 }));
  for (let part = parts.pop(); part && bytes <= bytesMax; part = parts.pop()) {
    const { value, depth } = part;
    bytes += typeof value === "string" ? value.length + 2 : 1;
    if (typeof value !== "object" || value === null || depth > depthMax || "toJSON" in value)
      continue;
    if (Array.isArray(value) && value.length > bytesMax) return true;
    for (const [name, inner] of Object.entries(value)) {
      if (inner === undefined || typeof inner === "function") continue;
      bytes += Array.isArray(value) ? 0 : name.length + 3;
      parts.push({ value: inner, depth: depth + 1 });
    }
  }
  return bytes > bytesMax;
}
