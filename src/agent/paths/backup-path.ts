/**
 * The way of the cell's state to safety: ledger → dump → [backup thread] sealed and proved → this disk
 * → other nodes and the hub, over links. Every node keeps copies for the servers; servers make them.
 */
import { join } from "node:path";
import type { MountedRoute } from "../../apiserver/index.ts";
import {
  defaultRetention,
  defaultSchedule,
  holderOver,
  openBackupFolder,
  serveCopies,
  startBackups,
  type BackupFolder,
  type BackupMeta,
  type Backups,
  type Holder,
  type RecoveryKey,
} from "../../backup/index.ts";
import { nodeKind, type BackupReport, type Node } from "../../api/index.ts";
import { parseDurationMs } from "../../lib/duration.ts";
import { SkerryError } from "../../lib/errors.ts";
import { entryUrl } from "../../runtime/child/index.ts";
import { startThread } from "../../runtime/thread/index.ts";
import type { BackupMethods } from "../backup.ts";
import { sharedOver, sourceOf, type CellShared } from "../cell-backups.ts";
import type { Ground } from "../ground.ts";
import type { HostStrain } from "../host-strain.ts";
import { backupsFolder } from "../data-folder.ts";
import type { StatePath } from "./command-path.ts";
import type { LinkPath } from "./link-path.ts";

export type BackupPath = {
  /** Servers only. */
  readonly report: (() => BackupReport) | undefined;
  readonly routes: readonly MountedRoute[];
};

const peerCopies = 2;

export async function startBackupPath(
  ground: Ground,
  deps: { state: StatePath; links: LinkPath; strain: Pick<HostStrain, "short"> },
): Promise<BackupPath> {
  const { clock, random, log, lifecycle, record, router, dataDir, nowMs } = ground;
  const { state, links, strain } = deps;
  const diskShort = () => strain.short.find((text) => text.startsWith("disk"));
  const folder = await openBackupFolder(
    { log },
    { folder: backupsFolder(dataDir), retention: defaultRetention },
  );
  let nodes: readonly string[] = [];
  state.mirrored.follow(nodeKind, (objects: readonly Node[]) => {
    nodes = objects.map(({ metadata }) => metadata.name).toSorted();
  });
  serveCopies(router, {
    async folderOf(peer) {
      const [kind, name] = peer.path;
      if (kind === "node" && state.servers().some(({ node }) => node === name)) return folder;
      throw new SkerryError({
        code: "forbidden",
        message: `${peer.id} is no server of this cell: backups are kept for servers`,
      });
    },
    refusal: diskShort,
  });
  const { ledger } = state;
  if (!ledger) return { report: undefined, routes: [] };

  const workFolder = join(backupsFolder(dataDir), "work");
  const inThread = async <T>(work: (thread: BackupThread) => Promise<T>): Promise<T> => {
    const thread = await startThread<BackupMethods>(entryUrl(import.meta.url, "../backup.entry"), {
      name: "backup",
    });
    try {
      return await work(thread);
    } finally {
      await thread.terminate();
    }
  };
  const prove = (path: string, keys: readonly RecoveryKey[]) =>
    inThread((thread) =>
      thread.call("backup.prove", { path, keys, scratch: join(workFolder, "scratch.db") }),
    );
  const shared = sharedOver({ ledger, random, dataDir, node: record.node, nowMs });
  // Before another server is handed what makes it one.
  void shared
    .keys()
    .catch((error: unknown) => log.debug("the recovery key is not known yet", { error }));
  const peers = (): readonly Holder[] =>
    nodes.flatMap((node) => {
      const link = node === record.node ? undefined : links.linkTo(node);
      return link ? [holderOver(node, link)] : [];
    });
  const hub = (): Holder | undefined => {
    const link = links.hub.link;
    return link && holderOver("hub", link);
  };
  const every = record.backupEvery ?? "1h";
  const periodMs = every === "off" ? undefined : parseDurationMs(every, "backupEvery");
  const backups = await lifecycle.start(
    "backups",
    () =>
      startBackups(
        {
          clock,
          random,
          log,
          nowMs,
          folder,
          source: sourceOf({ ledger, dataDir, record }),
          workbench: {
            seal: (job) => inThread((thread) => thread.call("backup.seal", job)),
            prove,
          },
          shared,
          peers,
          hub,
          isGone: (name) => nodes.length > 0 && !nodes.includes(name),
          diskShort,
        },
        {
          cell: record.cell,
          node: record.node,
          version: ground.version,
          workFolder,
          schedule:
            periodMs === undefined
              ? undefined
              : {
                  ...defaultSchedule,
                  periodMs,
                  firstMs: Math.min(defaultSchedule.firstMs, periodMs),
                },
          peerCopies,
        },
      ),
    (part) => part.stop(),
  );
  measure(ground, backups);
  return {
    report: backups.report,
    routes: [
      routeOf({
        record,
        folder,
        backups,
        shared,
        prove,
        holders: () => [...peers(), ...[hub()].filter((one) => one !== undefined)],
      }),
    ],
  };
}

type BackupThread = Awaited<ReturnType<typeof startThread<BackupMethods>>>;

function measure({ metrics }: Ground, backups: Backups): void {
  const age = metrics.gauge(
    "skerry_backup_age_seconds",
    "Age of the newest verified backup of the cell; absent when there is none.",
  );
  const copies = metrics.gauge(
    "skerry_backup_copies",
    "Places that hold the newest verified backup: nodes, and the hub.",
  );
  const made = metrics.gauge(
    "skerry_backups_made",
    "Backups that this server made since its start, by outcome.",
    ["outcome"],
  );
  metrics.beforeRender(() => {
    const { ageMs, on } = backups.report();
    age.reset();
    if (ageMs !== undefined) age.set(ageMs / 1000);
    copies.set(on.length);
    made.set({ outcome: "verified" }, backups.counts.made);
    made.set({ outcome: "failed" }, backups.counts.failed);
  });
}

type RouteDeps = {
  readonly record: Ground["record"];
  readonly folder: BackupFolder;
  readonly backups: Backups;
  readonly shared: CellShared;
  readonly prove: (path: string, keys: readonly RecoveryKey[]) => Promise<unknown>;
  readonly holders: () => readonly Holder[];
};

/** What the command line asks of a server about backups; administrators only. */
function routeOf(deps: RouteDeps): MountedRoute {
  const { backups, shared, record } = deps;
  const answer = (value: unknown) => ({
    status: 200,
    contentType: "application/json",
    body: JSON.stringify(value),
  });
  return {
    prefix: "/skerry/v1/backups",
    async handle({ method, path, body }) {
      switch (`${method} ${path.slice("/skerry/v1/backups".length)}`) {
        case "GET ":
          return answer({
            report: backups.report(),
            ...(backups.step === undefined ? {} : { step: backups.step }),
            isKeyTaken: await shared.isKeyTaken(),
            backups: await everywhere(deps),
          });
        case "POST ": {
          const { meta, on } = await backups.take();
          return answer({ ...meta, on });
        }
        case "POST /verify": {
          const { id } = (await body()) as { id: string };
          return answer(await verify(deps, id));
        }
        case "POST /key": {
          const [key] = await shared.keys();
          await shared.markKeyTaken();
          return answer({ cell: record.cell, ...key });
        }
        default:
          throw new SkerryError({
            code: "invalid-argument",
            message: `${method} ${path}: there is no such thing`,
          });
      }
    },
  };
}

/** Every backup that can be reached now, newest first, and where it is. */
async function everywhere({ record, folder, holders }: RouteDeps) {
  const lists = await Promise.all(
    holders().map(async (holder) => ({
      name: holder.name,
      // Who does not answer is shown by absence: the others matter now.
      metas: await holder.list().catch((): readonly BackupMeta[] => []),
    })),
  );
  const byId = new Map<string, BackupMeta & { on: string[] }>();
  for (const { name, metas } of [{ name: record.node, metas: folder.list() }, ...lists])
    for (const meta of metas) {
      const known = byId.get(meta.id);
      if (known) known.on.push(name);
      else byId.set(meta.id, { ...meta, on: [name] });
    }
  return [...byId.values()].toSorted((a, b) => b.atMs - a.atMs);
}

/** Restores this server's own copy in a scratch place, and has every holder read its copy. */
async function verify({ record, folder, holders, shared, prove }: RouteDeps, id: string) {
  const copies = await Promise.all(
    holders().map(async (holder) => {
      const metas = await holder.list().catch((): readonly BackupMeta[] => []);
      if (!metas.some((meta) => meta.id === id)) return [];
      const state = await holder.check(id).catch(() => "silent" as const);
      return [{ on: holder.name, state }];
    }),
  );
  const own = folder.find(id);
  if (own) await prove(folder.path(id), await shared.keys());
  return {
    id,
    copies: [...(own ? [{ on: record.node, state: "restored" as const }] : []), ...copies.flat()],
  };
}
