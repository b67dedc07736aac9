/**
 * Where a PostgreSQL is, from a URL as libpq takes it (postgresql.org/docs/current/libpq-connect.html):
 * several hosts, a unix socket's folder as `host`, TLS modes with their files. What is not known is
 * refused by name, so that nothing that somebody relies on is passed over.
 */
import { readFileSync } from "node:fs";
import { userInfo } from "node:os";
import type { ConnectionOptions } from "node:tls";
import { SkerryError } from "../../lib/errors.ts";

export const tlsModes = [
  "disable",
  "allow",
  "prefer",
  "require",
  "verify-ca",
  "verify-full",
] as const;
export type TlsMode = (typeof tlsModes)[number];

export type PostgresAddress = {
  /** Tried in this order; a host that begins with "/" is a unix socket's folder. */
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  readonly user: string;
  readonly password?: string;
  readonly database: string;
  readonly tls: TlsMode;
  readonly rootCertificatePath?: string;
  readonly certificatePath?: string;
  readonly keyPath?: string;
  readonly connectTimeoutMs: number;
};

const known = [
  "sslmode",
  "sslrootcert",
  "sslcert",
  "sslkey",
  "host",
  "port",
  "user",
  "password",
  "connect_timeout",
  "target_session_attrs",
];

/** Throws `invalid-postgres-url`; its message never holds the password. */
export function parsePostgresUrl(url: string): PostgresAddress {
  const parts =
    /^postgres(?:ql)?:\/\/(?:([^@/?#]*)@)?([^@/?#]*)(?:\/([^@?#]*))?(?:\?([^#]*))?$/.exec(url);
  if (!parts)
    throw invalid(
      "expected postgres://USER@HOST:PORT/DATABASE; in a password write @ as %40 and / as %2F",
    );
  const [, login = "", places = "", path = "", query = ""] = parts;
  const parameters = new URLSearchParams(query);
  const stray = [...parameters.keys()].find((name) => !known.includes(name));
  if (stray !== undefined)
    throw invalid(`${stray} is not known here; known are ${known.join(", ")}`);
  const given = (name: string) => parameters.get(name) || undefined;
  const colon = login.indexOf(":");
  const user =
    decoded(colon === -1 ? login : login.slice(0, colon)) || given("user") || userInfo().username;
  const password =
    (colon === -1 ? undefined : decoded(login.slice(colon + 1))) ?? given("password");
  const tls = given("sslmode") ?? "prefer";
  if (!tlsModes.some((mode) => mode === tls))
    throw invalid(`sslmode: "${tls}" is not allowed; use ${tlsModes.join(", ")}`);
  const wanted = given("target_session_attrs");
  if (wanted !== undefined && wanted !== "read-write" && wanted !== "primary" && wanted !== "any")
    throw invalid("target_session_attrs: a hub writes, so only read-write goes");
  const timeout = Number(given("connect_timeout") ?? 10);
  if (!(Number.isInteger(timeout) && timeout >= 1 && timeout <= 600))
    throw invalid("connect_timeout: expected seconds from 1 to 600");
  return {
    hosts: hostsOf(given("host") ?? decoded(places), given("port")),
    user,
    ...(password === undefined || password === "" ? {} : { password }),
    database: decoded(path) || user,
    tls: tls as TlsMode,
    ...optional("rootCertificatePath", given("sslrootcert")),
    ...optional("certificatePath", given("sslcert")),
    ...optional("keyPath", given("sslkey")),
    connectTimeoutMs: timeout * 1000,
  };
}

/** What may be shown and kept: the URL without its password. */
export function withoutPassword(url: string): string {
  return url
    .replace(/^(postgres(?:ql)?:\/\/[^@/?#:]*):[^@/?#]*@/, "$1@")
    .replace(/([?&])password=[^&#]*&?/g, "$1")
    .replace(/[?&]$/, "");
}

/** Whether the password stands in the URL itself. */
export const hasPassword = (url: string): boolean => withoutPassword(url) !== url;

/** `db.example:5432/skerry`, for messages and status. */
export const placeOf = ({ hosts, database }: PostgresAddress): string =>
  `${hosts.map(({ host, port }) => `${host}:${port}`).join(",")}/${database}`;

/** Undefined: no TLS. Throws `file-unreadable`. */
export function tlsOptions(address: PostgresAddress, host: string): ConnectionOptions | undefined {
  const { tls, rootCertificatePath, certificatePath, keyPath } = address;
  if (tls === "disable" || host.startsWith("/")) return undefined;
  const ca = optional("ca", rootCertificatePath && pem(rootCertificatePath));
  const own = {
    ...optional("cert", certificatePath && pem(certificatePath)),
    ...optional("key", keyPath && pem(keyPath)),
  };
  if (tls === "verify-full") return { ...ca, ...own };
  // As libpq: with a root certificate `require` verifies it, but not the name.
  if (tls === "verify-ca" || (tls === "require" && rootCertificatePath !== undefined))
    return { ...ca, ...own, checkServerIdentity: () => undefined };
  return { ...ca, ...own, rejectUnauthorized: false };
}

/** `allow` and `prefer` go on without TLS where the server has none. */
export const mayGoPlain = ({ tls }: PostgresAddress): boolean =>
  tls === "allow" || tls === "prefer";

function hostsOf(places: string, port: string | undefined): PostgresAddress["hosts"] {
  const ports = port?.split(",") ?? [];
  return (places || "localhost").split(",").map((place, index) => {
    const [, bracketed, plain, own] = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d+))?$/.exec(place) ?? [];
    const host = place.startsWith("/") ? place : (bracketed ?? plain ?? place);
    const number = Number(own ?? ports[index] ?? ports[0] ?? 5432);
    if (host === "" || !(Number.isInteger(number) && number >= 1 && number <= 65_535))
      throw invalid(`"${place}" is no HOST:PORT`);
    return { host, port: number };
  });
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid("a % in it does not begin a code such as %40");
  }
}

function pem(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new SkerryError({
      code: "file-unreadable",
      message: `${path}, named in the URL of PostgreSQL, cannot be read`,
      cause,
    });
  }
}

const optional = <Name extends string>(name: Name, value: string | undefined) =>
  (value === undefined || value === "" ? {} : { [name]: value }) as {
    readonly [K in Name]?: string;
  };

const invalid = (problem: string) =>
  new SkerryError({
    code: "invalid-postgres-url",
    message: `the URL of PostgreSQL: ${problem}`,
    hint: "an example: postgres://skerry@db.example:5432/skerry?sslmode=verify-full&sslrootcert=/etc/ssl/db.pem",
  });
