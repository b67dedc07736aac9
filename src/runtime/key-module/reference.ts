/**
 * Where a key in a module (PKCS#11) is, as one URI (RFC 7512): which library, which token, which
 * object, and which file has the PIN. No secret stands in it, so it may be kept and shown.
 */
import { isUtf8 } from "node:buffer";
import { SkerryError } from "../../lib/errors.ts";

export type KeyReference = {
  /** The library of the module, an absolute path. */
  readonly modulePath: string;
  /** Label of the token. */
  readonly token: string;
  /** Label of the key; absent where only its id was given. */
  readonly object?: string;
  /** Of the key, in hexadecimal digits; absent: the one that has the label. */
  readonly id?: string;
  /** File with the PIN of the token's user, an absolute path. */
  readonly pinPath: string;
};

const example =
  "pkcs11:token=skerry;object=hub-ca?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/skerry/pin";

const pathAttributes = ["token", "object", "id", "type"] as const;
const queryAttributes = ["module-path", "pin-source"] as const;

/** Throws `invalid-key-reference`, which names the attribute, its value, and what is allowed. */
export function parseKeyReference(text: string): KeyReference {
  const [, path, query = ""] = /^pkcs11:([^?]*)(?:\?(.*))?$/s.exec(text) ?? [];
  if (path === undefined) throw invalid(`not a URI of PKCS#11 (RFC 7512), expected as ${example}`);
  if (/[:;?&]pin-value=/.test(text))
    throw invalid(
      "pin-value: a PIN has no place in what is kept and shown, expected pin-source=file:/PATH",
    );
  const inPath = attributesOf(path, ";", pathAttributes);
  const inQuery = attributesOf(query, "&", queryAttributes);
  const token = textOf("token", inPath.get("token"));
  if (token === undefined) throw invalid("token: absent, expected the label of the token");
  const object = textOf("object", inPath.get("object"));
  const id = inPath.get("id")?.toString("hex");
  if (object === undefined && !id)
    throw invalid("object: absent, expected the label of the key, or its id as id=%01");
  const type = textOf("type", inPath.get("type")) ?? "private";
  if (type !== "private") throw invalid(`type: "${type}" is not allowed, expected private`);
  const modulePath = textOf("module-path", inQuery.get("module-path"));
  if (modulePath === undefined)
    throw invalid("module-path: absent, expected the library of the module, a path from / on");
  const pinSource = textOf("pin-source", inQuery.get("pin-source"));
  if (pinSource === undefined)
    throw invalid("pin-source: absent, expected the file with the PIN, as file:/etc/skerry/pin");
  return {
    modulePath: absolute("module-path", modulePath),
    token,
    ...(object === undefined ? {} : { object }),
    ...(id ? { id } : {}),
    pinPath: absolute("pin-source", pinSource.replace(/^file:(?:\/\/(?=\/))?/, "")),
  };
}

/** `name=value` between separators, each once; values are bytes (RFC 7512, 2.3). */
function attributesOf(
  text: string,
  separator: string,
  allowed: readonly string[],
): ReadonlyMap<string, Buffer> {
  const values = new Map<string, Buffer>();
  for (const part of text.split(separator).filter((one) => one !== "")) {
    const [, name, value = ""] = /^([^=]*)(?:=(.*))?$/s.exec(part) ?? [];
    if (name === undefined || !allowed.includes(name))
      throw invalid(`${name}: not allowed here, expected ${allowed.join(", ")}`);
    if (values.has(name)) throw invalid(`${name}: stands there twice`);
    values.set(name, bytesOf(name, value));
  }
  return values;
}

function bytesOf(name: string, value: string): Buffer {
  const parts = value.split(/(%[0-9a-f]{2})/i);
  const isEscape = (index: number) => index % 2 === 1;
  if (value === "" || parts.some((part, index) => !isEscape(index) && part.includes("%")))
    throw invalid(`${name}: "${value}" is not allowed, expected text with %XX for other bytes`);
  return Buffer.concat(
    parts.map((part, index) =>
      isEscape(index) ? Buffer.from(part.slice(1), "hex") : Buffer.from(part),
    ),
  );
}

/** Labels and paths end where a zero byte stands. */
function textOf(name: string, bytes: Buffer | undefined): string | undefined {
  if (bytes === undefined) return undefined;
  const text = bytes.toString();
  // oxlint-disable-next-line no-control-regex
  if (isUtf8(bytes) && !/[\u0000-\u001f\u007f]/.test(text)) return text;
  throw invalid(`${name}: ${JSON.stringify(text)} is not allowed, expected printable text`);
}

function absolute(name: string, path: string): string {
  if (path.startsWith("/")) return path;
  throw invalid(`${name}: "${path}" is not allowed, expected a path from / on`);
}

const invalid = (problem: string) =>
  new SkerryError({ code: "invalid-key-reference", message: problem });
