/**
 * What arrives waits here, bounded by bytes, and goes in groups: everything that came while
 * transactions ran is in the next ones. A few run at a time, never two with the same cell. A batch is
 * acknowledged after the commit that holds it.
 */
import { SkerryError } from "../../../lib/errors.ts";
import {
  isDataFault,
  isTransient,
  postgresFailure,
  type Postgres,
} from "../../../runtime/postgres/index.ts";
import type { ApplyAnswer } from "../../streams/store.ts";
import { ingestWithin, type Arrival, type Ingested } from "./ingest.ts";
import type { Names } from "./names.ts";
import type { Parts } from "./parts.ts";

export interface Writer {
  /** Throws `store-busy`, `invalid-batch`, `closed`, and what PostgreSQL throws: then it may come again. */
  write(arrival: Arrival, bytes: number): Promise<ApplyAnswer>;
  /** Commits what waits. */
  close(): Promise<void>;
}

/** Of unpacked batches that wait or are under way. */
const waitingBytesMax = 64 * 1024 * 1024;
const groupBytesMax = 8 * 1024 * 1024;
const groupArrivalsMax = 256;
/** Transactions at a time: one is being filled while another is made durable. */
const lanesMax = 2;
const attemptsMax = 5;

type Waiting = {
  readonly arrival: Arrival;
  readonly bytes: number;
  resolve(answer: ApplyAnswer): void;
  reject(error: unknown): void;
};

export function createWriter(deps: {
  postgres: Postgres;
  names: Names;
  parts: Parts;
  onCommit: (ingested: Ingested) => void;
}): Writer {
  const { postgres, names, parts } = deps;
  let waiting: Waiting[] = [];
  let heldBytes = 0;
  let lanes = 0;
  let closing: PromiseWithResolvers<void> | undefined;
  const cellsUnderWay = new Set<string>();

  const attempt = (arrivals: readonly Arrival[]) =>
    postgres.use(async (session) => {
      const cellIds = await names.cells(
        session,
        arrivals.map(({ cell }) => cell),
      );
      const done = await ingestWithin(session, { names, cellIds, covers: parts.covers }, arrivals);
      await session.query("noPartForMs" in done ? "ROLLBACK" : "COMMIT");
      return done;
    });

  const ingest = async (arrivals: readonly Arrival[]): Promise<Ingested> => {
    for (let tries = 1; ; tries++) {
      try {
        const done = await attempt(arrivals);
        if (!("noPartForMs" in done)) {
          done.keep();
          return done;
        }
        await parts.ensure(done.noPartForMs);
      } catch (error) {
        if (!isTransient(error) || tries >= attemptsMax) throw error;
      }
    }
  };

  const run = async (group: readonly Waiting[]): Promise<void> => {
    try {
      const ingested = await ingest(group.map(({ arrival }) => arrival));
      for (const [index, { resolve }] of group.entries())
        resolve(ingested.answers[index] as ApplyAnswer);
      deps.onCommit(ingested);
    } catch (error) {
      if (!isDataFault(error))
        for (const { reject } of group) reject(postgresFailure(error, postgres.place));
      else if (group.length === 1) group[0]?.reject(refused(error));
      // One of them is at fault, and only that one is refused.
      else for (const one of group) await run([one]);
    }
  };

  const nextGroup = (): Waiting[] => {
    const group: Waiting[] = [];
    const left: Waiting[] = [];
    let bytes = 0;
    for (const one of waiting) {
      const fits =
        group.length < groupArrivalsMax && (bytes === 0 || bytes + one.bytes <= groupBytesMax);
      if (fits && !cellsUnderWay.has(one.arrival.cell)) {
        group.push(one);
        bytes += one.bytes;
      } else left.push(one);
    }
    waiting = left;
    return group;
  };

  const pump = () => {
    while (lanes < lanesMax) {
      const group = nextGroup();
      if (group.length === 0) break;
      const cells = new Set(group.map(({ arrival }) => arrival.cell));
      for (const cell of cells) cellsUnderWay.add(cell);
      lanes++;
      void run(group).finally(() => {
        lanes--;
        for (const cell of cells) cellsUnderWay.delete(cell);
        for (const { bytes } of group) heldBytes -= bytes;
        pump();
      });
    }
    if (closing && lanes === 0 && waiting.length === 0) closing.resolve();
  };
  let pumping = false;
  /** After the messages that are here already: they go in one transaction. */
  const soon = () => {
    if (pumping) return;
    pumping = true;
    setImmediate(() => {
      pumping = false;
      pump();
    });
  };

  return {
    async write(arrival, bytes) {
      if (closing)
        throw new SkerryError({ code: "closed", message: `${postgres.place} is closed` });
      if (heldBytes > 0 && heldBytes + bytes > waitingBytesMax)
        throw new SkerryError({
          code: "store-busy",
          message: `${heldBytes} bytes wait for PostgreSQL at ${postgres.place}`,
          hint: "slow down and send again; nothing was written",
          retryable: true,
        });
      heldBytes += bytes;
      return await new Promise<ApplyAnswer>((resolve, reject) => {
        waiting.push({ arrival, bytes, resolve, reject });
        soon();
      });
    },
    async close() {
      closing ??= Promise.withResolvers<void>();
      pump();
      await closing.promise;
    },
  };
}

const refused = (cause: unknown) =>
  new SkerryError({
    code: "invalid-batch",
    message: `a batch of entries was refused by PostgreSQL: ${cause instanceof Error ? cause.message : String(cause)}`,
    hint: "nothing of it was stored; the sender runs another version, or is not what it says it is",
    cause,
  });
