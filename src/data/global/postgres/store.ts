/**
 * The hub's store in PostgreSQL: nothing is kept in the process, so several hub processes may share
 * one database, and any of them may be killed at any time.
 */
import { isUtf8 } from "node:buffer";
import { every, type Clock } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";
import type { Log } from "../../../lib/log.ts";
import { nameSuffix, type Random } from "../../../lib/random.ts";
import { createSignals } from "../../../lib/signals.ts";
import {
  openPostgres,
  placeOf,
  type Postgres,
  type PostgresAddress,
} from "../../../runtime/postgres/index.ts";
import { decodeColumns, toLogBatch } from "../../batch/codec.ts";
import { unknownStream } from "../../streams/check.ts";
import { pageLimit, parseCursor } from "../../streams/cursor.ts";
import type { LogBatch } from "../../streams/store.ts";
import type { GlobalGrown, GlobalStore, GlobalStreamStatus, Recheck } from "../store.ts";
import { createGrowth } from "./growth.ts";
import { createNames } from "./names.ts";
import { createParts } from "./parts.ts";
import { ask, beforeNewest, findStreams, readPage, toStreamRow } from "./reads.ts";
import { createRetention } from "./retention.ts";
import { prepareSchema } from "./schema.ts";
import { createWriter } from "./writer.ts";

export type PostgresStoreOptions = {
  readonly address: PostgresAddress;
  /** Since an entry arrived at the hub. Absent: for ever. */
  readonly retentionAgeMs?: number;
  /** Of one stream of one cell. Default 10 GiB. */
  readonly streamBytesMax?: number;
  /** Default 60 seconds. */
  readonly retentionPeriodMs?: number;
};

/**
 * Throws `database-unreachable`, `database-refused`, `database-missing`, `database-forbidden`,
 * `database-unfit`, `store-newer`.
 */
export async function openPostgresStore(
  deps: { clock: Clock; random: Random; log: Log; recheck: Recheck },
  options: PostgresStoreOptions,
): Promise<GlobalStore> {
  const { clock, random, log, recheck } = deps;
  const { address, retentionAgeMs } = options;
  const postgres = await openPostgres({ clock, log }, address, {
    application: "skerry-hub-streams",
    connectionsMax: 6,
  });
  try {
    const view = await prepareSchema(postgres, nameSuffix(random, 8));
    const parts = createParts({ postgres, clock, log }, { retentionAgeMs });
    await parts.ensure(clock.wallMs());
    log.info("streams are kept in PostgreSQL", { place: placeOf(address) });
    return createStore({ clock, log, recheck, postgres, parts, view }, options);
  } catch (error) {
    await postgres.close();
    throw error;
  }
}

function createStore(
  deps: {
    clock: Clock;
    log: Log;
    recheck: Recheck;
    postgres: Postgres;
    parts: ReturnType<typeof createParts>;
    view: string;
  },
  options: PostgresStoreOptions,
): GlobalStore {
  const { clock, log, recheck, postgres, parts, view } = deps;
  const signals = createSignals<{ grown: readonly GlobalGrown[] }>({
    onListenerError: (error) => log.error("a listener of the hub's store failed", { error }),
  });
  const growth = createGrowth(
    { clock, log, postgres },
    { onGrown: (grown) => signals.emit("grown", grown) },
  );
  const writer = createWriter({
    postgres,
    names: createNames(),
    parts,
    onCommit: ({ batch, grown }) => growth.committed(batch, grown),
  });
  const retention = createRetention(
    { postgres, parts, clock, log },
    {
      ageMs: options.retentionAgeMs,
      streamBytesMax: options.streamBytesMax ?? 10 * 2 ** 30,
    },
  );

  const streamsOf = async (query: { name?: string; cell?: string }) =>
    await postgres.use((session) => ask(session, findStreams(query)));

  const store: GlobalStore = {
    async ingest(cell, bytes) {
      const decoded = decodeColumns(bytes);
      recheck.check(decoded);
      const batch = toLogBatch(decoded);
      checkText(batch);
      const size = decoded.columns.bodies.length + bytes.length;
      return await writer.write({ cell, batch }, size);
    },
    async vector(cell) {
      const rows = await postgres.use((session) =>
        session.query(
          `SELECT o.name, o.top FROM skerry.origin o JOIN skerry.cell c ON c.id = o.cell
           WHERE c.name = $1 AND o.top > 0`,
          [cell],
        ),
      );
      return Object.fromEntries(rows.map((row) => [String(row["name"]), Number(row["top"])]));
    },
    async read(query) {
      const { stream, cell, after, newest } = query;
      const { fromMs = 0, toMs = Number.MAX_SAFE_INTEGER } = query;
      const limit = pageLimit(query.limit);
      const wanted = newest === undefined ? undefined : pageLimit(newest);
      const afterId = parseCursor(after, view);
      const found = await streamsOf({
        ...(stream === undefined ? {} : { name: stream }),
        ...(cell === undefined ? {} : { cell }),
      });
      if (stream !== undefined && found.length === 0) {
        const all = await streamsOf(cell === undefined ? {} : { cell });
        const known = new Set(all.map((row) => String(row["name"])));
        throw new SkerryError(unknownStream(stream, known));
      }
      const streams = found.map(toStreamRow);
      const page = await postgres.use(async (session) => {
        const behind =
          wanted === undefined ? afterId : await ask(session, beforeNewest(streams, wanted));
        return await ask(session, readPage({ streams, afterId: behind, fromMs, toMs, limit }));
      });
      return {
        entries: page.rows.map(({ id, ...entry }) => ({ ...entry, cursor: `${view}.${id}` })),
        cursor: `${view}.${page.lastId}`,
        more: page.more,
      };
    },
    async streams(cell) {
      const rows = await streamsOf(cell === undefined ? {} : { cell });
      return rows
        .map((row): GlobalStreamStatus => ({
          cell: String(row["cell"]),
          name: String(row["name"]),
          entries: Number(row["entries"]),
          bytes: Number(row["bytes"]),
        }))
        .sort((a, b) => (`${a.cell}\n${a.name}` < `${b.cell}\n${b.name}` ? -1 : 1));
    },
    retain: () => retention.sweep(),
    on(event, listener) {
      const off = signals.on(event, listener);
      const unwatch = growth.watch();
      return () => {
        off();
        unwatch();
      };
    },
    async close() {
      sweep.cancel();
      growth.close();
      await writer.close();
      await postgres.close();
    },
  };
  const sweep = every(
    clock,
    options.retentionPeriodMs ?? 60_000,
    async () => {
      await retention.sweep();
      if (!parts.covers(clock.wallMs() + 86_400_000)) await parts.ensure(clock.wallMs());
    },
    (error) => log.error("retention failed; it is tried again", { error }),
  );
  return store;
}

/** PostgreSQL's text holds no NUL and nothing that is not Unicode. Throws `invalid-batch`. */
function checkText({ origin, entries }: LogBatch): void {
  const isText = (text: string) => text.isWellFormed() && !text.includes("\0");
  const wrong = !isText(origin)
    ? "origin"
    : entries.some(({ stream }) => !isText(stream))
      ? "stream"
      : entries.some(({ key }) => key && !isText(key.producer))
        ? "producer"
        : entries.some(({ body }) => !isUtf8(body) || body.includes(0))
          ? "body"
          : undefined;
  if (wrong === undefined) return;
  throw new SkerryError({
    code: "invalid-batch",
    message: `a batch of entries was refused: ${wrong}: not UTF-8, or with a NUL in it`,
    hint: "nothing of it was stored; the sender runs another version, or is not what it says it is",
  });
}
