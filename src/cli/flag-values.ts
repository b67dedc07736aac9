/** What flags say, read so that what is wrong names the flag. */
import { SkerryError } from "../lib/errors.ts";

/** From 1 on. Throws `invalid-argument`. */
export function wholeNumber(text: string, flag: string): number {
  if (/^[1-9]\d{0,9}$/.test(text)) return Number(text);
  throw new SkerryError({
    code: "invalid-argument",
    message: `${flag}: "${text}" is not a whole number from 1 on`,
  });
}

/** Throws `invalid-argument`. */
export function instant(text: string, flag: string): string {
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) {
    throw new SkerryError({
      code: "invalid-argument",
      message: `${flag}: "${text}" is not a time`,
      hint: "write it as 2026-01-31T08:00:00Z",
    });
  }
  return String(ms);
}
