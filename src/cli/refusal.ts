/**
 * What an answer that is no success says: a node's gateway and a hub in Skerry's own shape, the cell's
 * API as a Kubernetes `Status` with the code among its causes.
 */
import { SkerryError } from "../lib/errors.ts";

type Said = {
  readonly code?: string;
  readonly message: string;
  readonly hint?: string;
  readonly retryable?: boolean;
};

/** With the code and the hint of the other side, where it told them; else `refused`. */
export function refusalOf(path: string, status: number, text: string): SkerryError {
  const said = saidIn(text);
  return new SkerryError({
    code: said?.code ?? "refused",
    message: said?.message ?? `${path}: status ${status}`,
    ...(said?.hint === undefined ? {} : { hint: said.hint }),
    retryable: said?.retryable ?? status >= 500,
  });
}

function saidIn(text: string): Said | undefined {
  const body = objectOf(parsed(text));
  if (!body) return text === "" ? undefined : { message: text.slice(0, 500) };
  return saidBySkerry(objectOf(body["error"])) ?? saidByStatus(body);
}

function saidBySkerry(error: Fields | undefined): Said | undefined {
  const message = textOf(error?.["message"]);
  if (!error || message === undefined) return undefined;
  const retryable = error["retryable"];
  return {
    ...told("code", textOf(error["code"])),
    message,
    ...told("hint", textOf(error["hint"])),
    ...(typeof retryable === "boolean" ? { retryable } : {}),
  };
}

/** Kubernetes names its own reasons in camel case; what is in kebab case is a code of Skerry's. */
const codePattern = /^[a-z]+(?:-[a-z]+)+$/;

function saidByStatus(body: Fields): Said | undefined {
  const whole = textOf(body["message"]);
  if (whole === undefined) return undefined;
  const causes = objectOf(body["details"])?.["causes"];
  const cause = Array.isArray(causes) ? objectOf(causes[0]) : undefined;
  const code = textOf(cause?.["reason"]);
  const hint = textOf(cause?.["message"]);
  if (code === undefined || !codePattern.test(code)) return { message: whole };
  // The message is made for clients that show nothing else: code and hint stand in it as well.
  const message = whole.startsWith(`${code}: `) ? whole.slice(code.length + 2) : whole;
  const end = ` (${hint})`;
  return hint !== undefined && message.endsWith(end)
    ? { code, message: message.slice(0, -end.length), hint }
    : { code, message };
}

type Fields = Readonly<Record<string, unknown>>;

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // A proxy on the way, or another program on this port: its words are shown as they are.
    return undefined;
  }
}

const objectOf = (value: unknown): Fields | undefined =>
  typeof value === "object" && value !== null ? (value as Fields) : undefined;
const textOf = (value: unknown): string | undefined =>
  typeof value === "string" ? value : undefined;
const told = (name: "code" | "hint", value: string | undefined) =>
  value === undefined ? {} : { [name]: value };
