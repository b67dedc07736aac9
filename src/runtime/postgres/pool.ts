/**
 * A few connections, shared and bounded. A piece of work has a connection for itself and a deadline;
 * a connection that a piece failed on is given up, so that no half of a transaction meets the next.
 */
import { deadline, type Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { placeOf, type PostgresAddress } from "./address.ts";
import { connect, type Connection, type Session } from "./connect.ts";

export interface Postgres {
  /** `HOST:PORT/DATABASE` */
  readonly place: string;
  /**
   * Throws `database-unreachable` and its like, `store-busy`, `closed`, and what `work` throws. When
   * `signal` is aborted the connection is given up in the middle of the work, which is not begun after it.
   */
  use<T>(work: (session: Session) => Promise<T>, options?: { signal?: AbortSignal }): Promise<T>;
  /** The same inside BEGIN and COMMIT. After a lost connection the outcome is unknown to the caller. */
  transaction<T>(work: (session: Session) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export type PostgresOptions = {
  /** Shown in pg_stat_activity. */
  readonly application: string;
  /** Default 4. */
  readonly connectionsMax?: number;
  /** Of one piece of work. Default 60 seconds. */
  readonly timeoutMs?: number;
};

/** Pieces that wait for a connection; more are refused, and those that waited this long. */
const waitingMax = 1024;
const waitingMsMax = 20_000;

/** Connects once, so that what is wrong shows at the start. */
export async function openPostgres(
  deps: { clock: Clock; log: Log },
  address: PostgresAddress,
  options: PostgresOptions,
): Promise<Postgres> {
  const { clock, log } = deps;
  const { application, connectionsMax = 4, timeoutMs = 60_000 } = options;
  const place = placeOf(address);
  const idle: Connection[] = [];
  const inUse = new Set<Connection>();
  const waiting = new Set<{ resolve: () => void; reject: (error: unknown) => void }>();
  let taken = 0;
  let closing = false;
  const closed = () => new SkerryError({ code: "closed", message: `${place} is closed` });
  const busy = (what: string) =>
    new SkerryError({
      code: "store-busy",
      message: `${what} (${place})`,
      hint: "ask again later; nothing was changed",
      retryable: true,
    });

  const seat = async () => {
    if (closing) throw closed();
    if (taken < connectionsMax) {
      taken++;
      return;
    }
    if (waiting.size >= waitingMax) throw busy(`${waiting.size} requests wait for PostgreSQL`);
    const turn = Promise.withResolvers<void>();
    waiting.add(turn);
    const timer = clock.after(waitingMsMax, () => {
      waiting.delete(turn);
      turn.reject(busy(`all ${connectionsMax} connections were in use for ${waitingMsMax} ms`));
    });
    await turn.promise.finally(() => timer.cancel());
  };
  const leave = () => {
    const [next] = waiting;
    if (!next) {
      taken--;
      return;
    }
    waiting.delete(next);
    next.resolve();
  };
  const connection = async () => {
    for (let found = idle.pop(); found; found = idle.pop()) if (found.isOpen) return found;
    return await connect(address, application);
  };

  const use = async <T>(
    work: (session: Connection) => Promise<T>,
    { signal: parent }: { signal?: AbortSignal } = {},
  ): Promise<T> => {
    await seat();
    let own: Connection | undefined;
    let timer: ReturnType<typeof deadline> | undefined;
    try {
      // Whoever waited too long leaves the connection to the next.
      parent?.throwIfAborted();
      own = await connection();
      inUse.add(own);
      const { destroy } = own;
      parent?.throwIfAborted();
      timer = deadline(clock, timeoutMs, parent && { parent });
      // A server that is silent, or a network that swallows everything, answers nobody else either.
      timer.signal.addEventListener("abort", destroy);
      const value = await work(own);
      if (own.isOpen && !closing) idle.push(own);
      else own.destroy();
      return value;
    } catch (error) {
      own?.destroy();
      throw error;
    } finally {
      timer?.done();
      if (own) inUse.delete(own);
      leave();
    }
  };

  const first = await connect(address, application);
  if (first.synchronousCommit !== "on" && first.synchronousCommit !== "remote_apply")
    log.warn("PostgreSQL is set to acknowledge before its disk has it; the hub's sessions do not", {
      place,
      synchronousCommit: first.synchronousCommit,
    });
  idle.push(first);
  return {
    place,
    use,
    transaction: (work) =>
      use(async (session) => {
        await session.query("BEGIN");
        const value = await work(session);
        await session.query("COMMIT");
        return value;
      }),
    async close() {
      closing = true;
      for (const { reject } of waiting) reject(closed());
      waiting.clear();
      await Promise.all(idle.splice(0).map((one) => one.end()));
      for (const one of inUse) one.destroy();
    },
  };
}
