/** What PostgreSQL, the driver and the network between throw, in the words of a store. */
import { SkerryError, systemCode } from "../../lib/errors.ts";

/** SQLSTATE (postgresql.org/docs/current/errcodes-appendix.html), or the system's code. */
export function stateOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : "";
}

/** Serialization and deadlocks: the same piece of work may go through when it is run again at once. */
export const isTransient = (error: unknown): boolean => stateOf(error).startsWith("40");

/** Somebody else held a lock for longer than the session waits for one. */
export const isLockTimeout = (error: unknown): boolean =>
  stateOf(error instanceof SkerryError ? error.cause : error) === "55P03";

/** The data was refused as such: it would be refused again. */
export const isDataFault = (error: unknown): boolean => stateOf(error).startsWith("22");

/** Translates what the driver throws at `place` (`HOST:PORT/DATABASE`); the rest comes back unchanged. */
export function postgresFailure(error: unknown, place: string): unknown {
  if (error instanceof SkerryError || !(error instanceof Error)) return error;
  const state = stateOf(error);
  const said = error.message;
  const failure = (init: { code: string; message: string; hint: string; retryable?: boolean }) =>
    new SkerryError({ ...init, cause: error });
  if (state === "28P01" || state === "28000" || said.startsWith("SASL"))
    return failure({
      code: "database-refused",
      message: `PostgreSQL at ${place} refused the login: ${said}`,
      hint: "check the user, the password (--postgres-password-file, or in the URL of SKERRY_HUB_POSTGRES) and the server's pg_hba.conf",
    });
  if (state === "3D000")
    return failure({
      code: "database-missing",
      message: `PostgreSQL at ${place}: ${said}`,
      hint: "make it: CREATE DATABASE skerry OWNER skerry ENCODING 'UTF8' TEMPLATE template0",
    });
  if (state === "42501")
    return failure({
      code: "database-forbidden",
      message: `PostgreSQL at ${place}: ${said}`,
      hint: "the hub's user needs CREATE on the database, or a schema of its own there with the name skerry",
    });
  if (state === "25006")
    return failure({
      code: "database-unfit",
      message: `PostgreSQL at ${place} takes no writes now: ${said}`,
      hint: "is it a standby? name all servers in the URL (HOST1:PORT,HOST2:PORT); the one that writes is taken",
      retryable: true,
    });
  if (state === "53100")
    return failure({
      code: "disk-full",
      message: `no space left for PostgreSQL at ${place}`,
      hint: "free space there; what was acknowledged is safe, the refused write changed nothing",
      retryable: true,
    });
  if (isTransient(error) || heldUp.has(state))
    return failure({
      code: "database-busy",
      message: `PostgreSQL at ${place} held this up for too long: ${said}`,
      hint: "somebody holds locks there, or it has too much to do: SELECT pid, state, query, pg_blocking_pids(pid) FROM pg_stat_activity tells who. Nothing of this was stored; it may come again",
      retryable: true,
    });
  if (isUntrusted(state))
    return failure({
      code: "database-untrusted",
      message: `what answers as PostgreSQL at ${place} is not trusted: ${said}`,
      hint: "sslrootcert in the URL names the file with the authority that signed the server's certificate; with sslmode=verify-full that certificate names the host in the URL",
      retryable: true,
    });
  if (isUnreachable(state, said, error))
    return failure({
      code: "database-unreachable",
      message: `PostgreSQL at ${place} does not answer: ${said || systemCode(error) || "no connection"}`,
      hint: "is it running, and reachable from this machine? A hub that runs connects again by itself; cells keep what it did not acknowledge",
      retryable: true,
    });
  if (/^[0-9A-Z]{5}$/.test(state))
    return failure({
      code: "database-failed",
      message: `PostgreSQL at ${place} refused a statement (${state}): ${said}`,
      hint: "the server's log says more; nothing of this was stored",
    });
  return error;
}

/** lock_not_available, query_canceled (`statement_timeout`), idle_in_transaction_session_timeout */
const heldUp: ReadonlySet<string> = new Set(["55P03", "57014", "25P03"]);

/** Its certificate was looked at (nodejs.org/api/tls.html, "X509 certificate error codes"). */
const isUntrusted = (state: string): boolean =>
  /^(?:CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|ERR_TLS_CERT_ALTNAME_INVALID|INVALID_CA|HOSTNAME_MISMATCH)/.test(
    state,
  );

function isUnreachable(state: string, said: string, error: Error): boolean {
  if (/^(?:08|57P0[1-5]|53[023])/.test(state)) return true;
  if (/^(?:E[A-Z_]+|ERR_TLS_|ERR_SSL_)/.test(state)) return true;
  if (error instanceof AggregateError) return true;
  return /^(?:Connection terminated|timeout expired|The server does not support SSL|There was an error establishing an SSL|Client (?:has encountered|was closed))/.test(
    said,
  );
}
