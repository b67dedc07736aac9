/** Where somebody listens, as text. */
import { SkerryError } from "../lib/errors.ts";

/** `HOST:PORT` that this software wrote. */
export function addressOf(text: string): { host: string; port: number } {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at), port: Number(text.slice(at + 1)) };
}

/** `HOST:PORT`, `[HOST]:PORT` or `HOST`. Throws `invalid-argument`. */
export function parseListen(text: string, defaultPort: number): { host: string; port: number } {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:\s]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const number = port === undefined ? defaultPort : Number(port);
  if (host !== undefined && number >= 1 && number <= 65_535) return { host, port: number };
  throw new SkerryError({
    code: "invalid-argument",
    message: `"${text}" is no address with a port`,
    hint: "expected HOST:PORT, as 192.0.2.7:7447 or [2001:db8::7]:7447",
  });
}
