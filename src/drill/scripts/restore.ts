/**
 * `restore`: the only server loses its ledger, under load, and gets it back from its newest backup. Pods,
 * data and ingresses of the others go on; what the backup held is there; and nobody goes on in the
 * history that is gone: watches are told, fencing tokens of it are refused, new ones are greater.
 */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { configMapKind } from "../../api/index.ts";
import { atLeast, atMost, type Drill, type DrillReport } from "../drill.ts";
import { createCoordinationHttp, type CoordinationHttp } from "../load/coordination-http.ts";
import { runSkerry } from "../site/command.ts";
import { waitUntil } from "../site/whole.ts";
import { concludeServerLoss, loseServer } from "./server-loss.ts";
import { withStage, type Stage } from "./stage.ts";
import { notMeasured } from "./verdict.ts";

const server = "n1";
/** Of a cell whose server is away, this one is asked. */
const asked = "n2";
const objects = 20;
const restoreWithinMs = 30_000;
const sessionTtlMs = 10_000;
const lock = "restored";
const patienceMs = 60_000;
const timeoutMs = 3000;
const confirmationExit = 2;

export const restore: Drill = {
  name: "restore",
  summary:
    "the only server loses its ledger and gets it back from a backup, in a history of its own",
  faults: ["kill the server's machine and remove its ledger; restore the newest backup; start it"],
  needs: "links",
  defaultForMs: 60_000,
  run: (options) => withStage(options, play),
};

/** What a client of the lost history holds. */
type Held = { readonly token: number; readonly lastEventId: string };

async function play(stage: Stage): Promise<DrillReport> {
  const { site, progress, slowness, clock } = stage;
  const node = site.nodes.find((one) => one.node === asked);
  const cell = createCoordinationHttp({
    gateway: node?.gateway ?? "",
    token: node?.token ?? "",
    timeoutMs: timeoutMs * slowness,
    clock,
  });
  try {
    await stage.until(0.05);
    for (let n = 0; n < objects; n++) await writeObject(stage, `kept-${n}`);
    progress("making a backup");
    await site.skerry(server, ["backup", "now"]);
    await writeObject(stage, "later");
    const held = await holdSomething(stage, cell);

    await stage.until(0.25);
    let restoreMs = notMeasured;
    let unasked = notMeasured;
    const loss = await loseServer(stage, {
      holdMs: 0,
      untouched: site.nodes.slice(1).map((one) => one.node),
      async meanwhile() {
        progress("removing the ledger");
        removeLedger(site.dataDirOf(server));
        const startedMs = clock.monotonicMs();
        const data = ["--data", site.dataDirOf(server)];
        const refusal = await runSkerry(["restore", "latest", ...data]);
        unasked = refusal.code === confirmationExit ? 0 : 1;
        progress("restoring the newest backup");
        await site.skerry(server, ["restore", "latest", "--yes"]);
        restoreMs = Math.round(clock.monotonicMs() - startedMs);
      },
    });
    const after = await lookAfter(stage, cell, held);
    await stage.until(1);
    return await concludeServerLoss(stage, "restore", loss, {
      fault: `${server} lost its ledger`,
      promises: [
        atMost("B1", "objects of the backup that are not there", after.missing, 0, "objects"),
        atMost("B2", "objects from after the backup that are there", after.surplus, 0, "objects"),
        atMost("B3", "restores made without being confirmed", unasked, 0, "restores"),
        atMost("B4", "from the removed ledger to a restored one", restoreMs, restoreWithinMs, "ms"),
        atLeast(
          "B5",
          "watches of the lost history that were told to begin anew",
          after.watchesTold,
          1,
          "watches",
        ),
        atMost(
          "B6",
          "writes accepted under a token of the lost history",
          after.oldAccepted,
          0,
          "writes",
        ),
        atLeast(
          "B7",
          "how much greater a new fencing token is than one of the lost history",
          after.tokenGrowth,
          1,
          "revisions",
        ),
      ],
    });
  } finally {
    await cell.close();
  }
}

/** The ledger's files only: what else that disk holds is not this drill's affair. */
function removeLedger(dataDir: string): void {
  for (const name of readdirSync(dataDir).filter((one) => one.startsWith("ledger")))
    rmSync(join(dataDir, name), { recursive: true });
}

function writeObject({ site }: Stage, name: string): Promise<unknown> {
  return site.cluster.apply(configMapKind, {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name, namespace: "default" },
    data: { drill: "restore" },
  });
}

/** A lock, and a place in a watch. */
function holdSomething({ clock, signal, slowness }: Stage, cell: CoordinationHttp): Promise<Held> {
  return waitUntil<Held>(
    "a lock and a watch in the history that will be lost",
    async () => {
      const token = await acquire(cell, "before");
      const { revision } = await cell.list("held/");
      const stop = new AbortController();
      try {
        for await (const line of watchWritten(cell, revision, stop.signal))
          if (line.type !== "compacted") return { found: { token, lastEventId: line.id } };
      } finally {
        stop.abort();
      }
      return { missing: "the watch ended" };
    },
    { clock, signal, timeoutMs: patienceMs * slowness },
  );
}

/** Writes once, so that a watch has something to tell. */
async function* watchWritten(cell: CoordinationHttp, after: number, signal: AbortSignal) {
  const written = await cell.put("held/something", "here");
  if (written.state !== "done") throw new Error(`a write was ${written.state}`);
  yield* cell.watch({ after }, signal);
}

async function acquire(cell: CoordinationHttp, id: string): Promise<number> {
  const opened = await cell.openSession(sessionTtlMs);
  if (opened.state !== "done") throw new Error(`a session was ${opened.state}`);
  const got = await cell.acquire(lock, { session: opened.session, id, waitMs: timeoutMs });
  if (got.state !== "done") throw new Error(`the lock was ${got.state}`);
  return got.token;
}

type After = {
  readonly missing: number;
  readonly surplus: number;
  readonly watchesTold: number;
  readonly oldAccepted: number;
  readonly tokenGrowth: number;
};

async function lookAfter(stage: Stage, cell: CoordinationHttp, held: Held): Promise<After> {
  const { site, clock, signal, slowness } = stage;
  const maps = await site.cluster.list(configMapKind, { namespace: "default" });
  const names = new Set(maps.map(({ metadata }) => metadata.name));
  const missing = Array.from({ length: objects }, (_, n) => `kept-${n}`).filter(
    (name) => !names.has(name),
  ).length;
  const late = await cell.put("held/something", "still", { lock, token: held.token });
  const token = await waitUntil<number>(
    "the lock in the new history",
    async () => ({ found: await acquire(cell, "after") }),
    { clock, signal, timeoutMs: patienceMs * slowness },
  );
  return {
    missing,
    surplus: names.has("later") ? 1 : 0,
    watchesTold: (await isToldToBeginAnew(stage, cell, held)) ? 1 : 0,
    oldAccepted: late.state === "done" ? 1 : 0,
    tokenGrowth: token - held.token,
  };
}

async function isToldToBeginAnew(
  { clock, slowness }: Stage,
  cell: CoordinationHttp,
  { lastEventId }: Held,
): Promise<boolean> {
  const stop = new AbortController();
  const timer = clock.after(timeoutMs * slowness, () => stop.abort());
  try {
    for await (const line of cell.watch({ lastEventId }, stop.signal))
      return line.type === "compacted";
    return false;
  } catch {
    // No answer in time, or none at all: it was not told.
    return false;
  } finally {
    timer.cancel();
    stop.abort();
  }
}
