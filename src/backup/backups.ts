/**
 * A server's backups: on a schedule, one server at a time, each proved before it counts, then copied
 * to other machines until enough of them have it. Whatever fails is told, and tried again soon.
 */
import { createWriteStream } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { isDeepStrictEqual } from "node:util";
import type { BackupReport } from "../api/index.ts";
import { every, type Clock, type Timer } from "../lib/clock.ts";
import { explain, SkerryError } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";
import { ensureDirectory } from "../runtime/files/index.ts";
import { createTally, encodeRecord, type Content } from "./dump.ts";
import { explained } from "./folder.ts";
import { backupId, type BackupMeta } from "./meta.ts";
import { inCell, placesLeft, sendMissing, type PlacesDeps } from "./places.ts";
import type { LastBackup, LedgerView, Shared, Source, Workbench } from "./ports.ts";
import { reportOf } from "./report.ts";
import { staleMs, waitMs, type Schedule } from "./schedule.ts";

export type BackupsDeps = PlacesDeps & {
  readonly clock: Clock;
  readonly random: Random;
  /** The cell's time. */
  readonly nowMs: () => number;
  readonly source: Source;
  readonly workbench: Workbench;
  readonly shared: Shared;
  /** Why the disk has no room for backups now, in words. */
  readonly diskShort: () => string | undefined;
};

export type BackupsOptions = {
  readonly cell: string;
  readonly node: string;
  readonly version: string;
  /** For files under way; emptied at the start. */
  readonly workFolder: string;
  /** Undefined: only when asked for. */
  readonly schedule: Schedule | undefined;
  /** How many other nodes shall have a copy. */
  readonly peerCopies: number;
  /** How often copies that are missing are sent, and the disk is looked at; places every fourth time. */
  readonly tendMs?: number;
};

export type Step = "reading" | "sealing" | "proving" | "copying";

export interface Backups {
  /** Makes one now. Throws `backup-running`, `disk-full`, `backup-damaged`, `ledger-unavailable`. */
  take(): Promise<LastBackup>;
  report(): BackupReport;
  /** What is being done for `take`, undefined when nothing is. */
  readonly step: Step | undefined;
  readonly counts: { readonly made: number; readonly failed: number };
  stop(): Promise<void>;
}

const tendMsDefault = 15_000;
/** Places are asked whether they still have the newest one every so many times. */
const tendsPerLook = 4;

export function startBackups(deps: BackupsDeps, options: BackupsOptions): Backups {
  const { clock, nowMs, folder, shared } = deps;
  const log = deps.log.child({ room: "backup" });
  const { node, schedule } = options;
  const startedMs = clock.monotonicMs();
  const places = { ...deps, log };
  const share = deps.random.float();
  let last: LastBackup | undefined;
  let tends = 0;
  let failures = 0;
  let failure: string | undefined;
  let triedMs = -Infinity;
  let step: Step | undefined;
  let running: Promise<LastBackup> | undefined;
  const counts = { made: 0, failed: 0 };

  const take = async (): Promise<LastBackup> => {
    const short = deps.diskShort();
    if (short !== undefined) {
      await folder.giveWay();
      throw new SkerryError({
        code: "disk-full",
        message: `backups wait: ${short}`,
        hint: "free space on this disk; the newest backup was kept",
        retryable: true,
      });
    }
    ensureDirectory(options.workFolder);
    const dumpPath = join(options.workFolder, "ledger.ndjson.gz");
    const sealedPath = join(options.workFolder, "backup.age");
    try {
      step = "reading";
      const keys = await shared.keys();
      const view = await deps.source.ledger();
      const content = await explained(writeDump(view, dumpPath), options.workFolder);
      const atMs = Math.floor(nowMs());
      const id = backupId(options.cell, atMs, view.revision);
      const { engine, epoch, revision } = view;
      const manifest = {
        version: 1,
        id,
        cell: options.cell,
        atMs,
        skerry: options.version,
        ledger: { ...content, engine, epoch, revision },
        node: deps.source.node(),
      } as const;
      step = "sealing";
      const recipients = keys.slice(0, 1).map(({ recipient }) => recipient);
      const files = await deps.source.files();
      const job = { manifest, files, dumpPath, recipients, path: sealedPath };
      const { bytes, sha256 } = await explained(deps.workbench.seal(job), options.workFolder);
      step = "proving";
      const proved = await deps.workbench.prove(sealedPath, keys);
      if (!isDeepStrictEqual(proved, JSON.parse(JSON.stringify(manifest)))) {
        throw new SkerryError({
          code: "backup-damaged",
          message: "what was read back is not what was sealed",
          hint: "the disk or the memory of this machine may be failing",
        });
      }
      const meta: BackupMeta = {
        id,
        cell: options.cell,
        by: node,
        atMs,
        revision,
        keys: content.keys,
        bytes,
        sha256,
        recipients,
      };
      await folder.adopt(meta, sealedPath);
      step = "copying";
      last = { meta, on: [node] };
      await tell(last);
      await spread();
      log.info("backed up", { backup: id, bytes, keys: content.keys, on: last?.on ?? [] });
      return last;
    } finally {
      step = undefined;
      await rm(dumpPath, { force: true });
      await rm(sealedPath, { force: true });
    }
  };

  /** The other servers learn of it; that they do not is no failure of the backup. */
  const tell = async (told: LastBackup) => {
    await shared
      .tell(told)
      .catch((error: unknown) =>
        log.warn("the other servers were not told of the backup", { error }),
      );
  };

  /** Its maker looks after a backup, or whoever has it where the maker is gone. */
  const isTendedHere = ({ by, id }: BackupMeta) =>
    (by === node || deps.isGone(by)) && folder.find(id) !== undefined;

  /** Sends the newest backup to those who shall have it and have not. */
  const spread = async () => {
    const current = last;
    if (!current || !isTendedHere(current.meta)) return;
    const isLook = tends++ % tendsPerLook === 0;
    const left = isLook ? await placesLeft(places, current) : current.on;
    const on = await sendMissing(places, { ...current, on: left }, options);
    // A newer one may have been made meanwhile.
    if (isDeepStrictEqual(on, current.on) || last?.meta.id !== current.meta.id) return;
    last = { meta: current.meta, on };
    await tell(last);
  };

  const run = (): Promise<LastBackup> => {
    running = take()
      .then(
        (made) => {
          failures = 0;
          failure = undefined;
          counts.made++;
          return made;
        },
        (error: unknown) => {
          failures++;
          failure = explain(error);
          counts.failed++;
          throw error;
        },
      )
      .finally(() => {
        triedMs = clock.monotonicMs();
        running = undefined;
      });
    return running;
  };

  /** What another server told counts as well: one backup a period is enough for the cell. */
  const learn = async () => {
    const told = await shared.last();
    if (told && (!last || told.meta.atMs >= last.meta.atMs)) last = told;
  };

  const dueMs = (active: Schedule): number => {
    const ageMs = last === undefined ? undefined : nowMs() - last.meta.atMs;
    const upMs = clock.monotonicMs() - startedMs;
    const wait = waitMs(active, { ageMs, upMs, failures, share });
    return failures === 0 ? wait : wait - (clock.monotonicMs() - triedMs);
  };

  const tend = async () => {
    if (running) return;
    await learn();
    if (deps.diskShort() !== undefined && folder.list().length > 1) {
      const gone = await folder.giveWay();
      log.warn("older backups gave way: the disk is short", { gone });
    }
    if (schedule && dueMs(schedule) <= 0 && (await shared.takeTurn()))
      await run().catch((error: unknown) => log.warn("no backup was made", { error }));
    else await spread();
  };

  // A start shall not call the next one the first.
  learn().catch((error: unknown) => log.debug("the newest backup is not known yet", { error }));
  const timer: Timer = every(
    clock,
    () =>
      Math.min(
        options.tendMs ?? tendMsDefault,
        schedule ? Math.max(100, dueMs(schedule)) : Infinity,
      ),
    tend,
    (error) => log.debug("backups were not tended", { error }),
  );

  return {
    take() {
      if (running)
        return Promise.reject(
          new SkerryError({
            code: "backup-running",
            message: "a backup is being made already",
            hint: "skerry backup list shows it when it is done",
            retryable: true,
          }),
        );
      return run();
    },
    report: () =>
      reportOf({
        isOff: schedule === undefined,
        last: last && { ...last, on: inCell(last.on, deps) },
        newestHere: folder.list()[0],
        nowMs: nowMs(),
        upMs: clock.monotonicMs() - startedMs,
        staleMs: schedule ? staleMs(schedule) : Infinity,
        failure,
      }),
    get step() {
      return step;
    },
    counts,
    async stop() {
      timer.cancel();
      await running?.catch(() => undefined);
    },
  };
}

async function writeDump(view: LedgerView, path: string): Promise<Content> {
  const tally = createTally();
  async function* lines() {
    for await (const page of view.pages) {
      let text = "";
      for (const record of page) {
        tally.add(record);
        text += encodeRecord(record);
      }
      yield text;
    }
  }
  await pipeline(lines(), createGzip(), createWriteStream(path, { mode: 0o600 }));
  return tally.content();
}
