/**
 * One session with PostgreSQL: connected to the first host that takes writes, looked at once, so that
 * nothing is acknowledged by a server that could lose it.
 */
import { SkerryError } from "../../lib/errors.ts";
import { mayGoPlain, placeOf, tlsOptions, type PostgresAddress } from "./address.ts";
import {
  CopyIn,
  createDriverClient,
  driverTypes,
  type DriverClient,
  type DriverResult,
  type Row,
} from "./driver.ts";
import { postgresFailure } from "./failures.ts";

export interface Session {
  /** A statement with values; prepared once a session when it is named. */
  query(
    text: string,
    values?: readonly unknown[],
    options?: { name?: string },
  ): Promise<readonly Row[]>;
  /** Several statements without values, in one round trip: the rows of each. */
  script(text: string): Promise<readonly (readonly Row[])[]>;
  /** `COPY … FROM STDIN`: takes all chunks, or throws and has taken nothing. */
  copyIn(text: string, chunks: readonly Uint8Array[]): Promise<void>;
}

export interface Connection extends Session {
  readonly isOpen: boolean;
  /** What the server promises by itself; worse than `on` was raised to `on` for this session. */
  readonly synchronousCommit: string;
  /** At once; a transaction that is open is rolled back by the server. */
  destroy(): void;
  end(): Promise<void>;
}

/** 15.0 */
const versionMin = 150_000;
/** Waiting for a lock; shorter than cells wait for an answer, so that they hear why there is none. */
const lockTimeoutMs = 10_000;
/** A hub that stops in the middle of a transaction holds its locks no longer than this. */
const idleInTransactionMs = 10_000;

/** Throws `database-unreachable`, `-refused`, `-missing`, `-unfit`. */
export async function connect(address: PostgresAddress, application: string): Promise<Connection> {
  let failure: unknown;
  for (const { host, port } of address.hosts) {
    const place = placeOf({ ...address, hosts: [{ host, port }] });
    try {
      return await connectTo(address, { host, port, place, application });
    } catch (error) {
      failure = postgresFailure(error, place);
      // A wrong password is wrong everywhere; a host that is down or a standby is not.
      if (!(failure instanceof SkerryError && failure.retryable)) throw failure;
    }
  }
  throw failure;
}

type Where = {
  readonly host: string;
  readonly port: number;
  readonly place: string;
  readonly application: string;
};

async function connectTo(address: PostgresAddress, where: Where): Promise<Connection> {
  const ssl = tlsOptions(address, where.host) ?? false;
  try {
    return await open(address, where, ssl);
  } catch (error) {
    const noTls = error instanceof Error && error.message.includes("does not support SSL");
    if (ssl === false || !noTls || !mayGoPlain(address)) throw error;
    return await open(address, where, false);
  }
}

async function open(
  address: PostgresAddress,
  { host, port, place, application }: Where,
  ssl: Parameters<typeof createDriverClient>[0]["ssl"],
): Promise<Connection> {
  const client = createDriverClient({
    host,
    port,
    user: address.user,
    password: () => address.password ?? "",
    database: address.database,
    ssl,
    application_name: application,
    connectionTimeoutMillis: address.connectTimeoutMs,
    keepAlive: true,
    types: driverTypes,
  });
  let isOpen = true;
  const close = () => {
    isOpen = false;
  };
  // Whoever waits for a query is told as well; without a listener it would end the process.
  client.on("error", close);
  client.on("end", close);
  try {
    await client.connect();
    const session = sessionOf(client, place);
    const synchronousCommit = await settle(session, place);
    return {
      ...session,
      synchronousCommit,
      get isOpen() {
        return isOpen;
      },
      destroy() {
        isOpen = false;
        client.connection.stream.destroy();
      },
      async end() {
        isOpen = false;
        await client.end();
      },
    };
  } catch (error) {
    client.connection.stream.destroy();
    throw error;
  }
}

function sessionOf(client: DriverClient, place: string): Session {
  const told = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      // Transient failures and faults of the data are for whoever knows what was asked.
      throw error instanceof Error &&
        /^(?:22|40|23)/.test(String((error as { code?: string }).code))
        ? error
        : postgresFailure(error, place);
    }
  };
  return {
    async query(text, values, { name } = {}) {
      const config = {
        text,
        ...(values ? { values } : {}),
        ...(name === undefined ? {} : { name }),
      };
      return ((await told(client.query(config))) as DriverResult).rows;
    },
    async script(text) {
      const results = await told(client.query({ text }));
      return [results].flat().map(({ rows }) => rows);
    },
    copyIn: (text, chunks) => told(client.query(new CopyIn(text, chunks)).done),
  };
}

/** Looks at the server and sets up the session; answers the server's own `synchronous_commit`. */
async function settle(session: Session, place: string): Promise<string> {
  const [found = {}] = await session.query(
    `SELECT current_setting('server_version_num')::int AS version, version() AS words,
       pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS read_only,
       current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync,
       current_setting('synchronous_commit') AS synchronous_commit,
       set_config('idle_in_transaction_session_timeout', $1, false),
       set_config('statement_timeout', '60s', false),
       (SELECT set_config('lock_timeout',
          least($2::int, coalesce(nullif(setting::int, 0), $2::int))::text, false)
        FROM pg_settings WHERE name = 'lock_timeout')`,
    [String(idleInTransactionMs), lockTimeoutMs],
  );
  const unfit = (message: string, hint: string, retryable = false) =>
    new SkerryError({
      code: "database-unfit",
      message: `PostgreSQL at ${place} ${message}`,
      hint,
      retryable,
    });
  if (Number(found["version"]) < versionMin)
    throw unfit(`is too old: ${String(found["words"])}`, "PostgreSQL 15 or newer is needed");
  if (found["read_only"])
    throw unfit(
      "takes no writes: it is a standby, or read-only",
      "name all servers in the URL (HOST1:PORT,HOST2:PORT); the one that writes is taken",
      true,
    );
  if (found["encoding"] !== "UTF8")
    throw unfit(
      `holds its text as ${String(found["encoding"])}`,
      "make the database with ENCODING 'UTF8' TEMPLATE template0",
    );
  if (found["fsync"] !== "on")
    throw unfit(
      "runs with fsync = off: a power cut would lose what the hub acknowledged",
      "set fsync = on in postgresql.conf and restart it",
    );
  const synchronousCommit = String(found["synchronous_commit"]);
  if (synchronousCommit !== "on" && synchronousCommit !== "remote_apply")
    await session.query("SET synchronous_commit = on");
  return synchronousCommit;
}
