/**
 * `clone`: the disk of a node is copied while its machine is off, and put back after the node has run
 * on and died again, as happens with images of virtual machines and with disks that are swapped back.
 * What was acknowledged is elsewhere (`peer(1)`) and must stay; and positions of its log that the copy
 * would use once more for other entries must not be.
 */
import { cpSync, lstatSync, rmSync } from "node:fs";
import { join } from "node:path";
import { request, type Dispatcher } from "undici";
import { deadline } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { atLeast, atMost, type Drill, type DrillReport } from "../drill.ts";
import { waitUntil } from "../site/whole.ts";
import { concludeLosses, loseNode, type LostMachine } from "./losses.ts";
import { streamName, withStage, type Stage } from "./stage.ts";
import { nextVictim } from "./victims.ts";

const patienceMs = 30_000;
/** Entries that are looked at for the names of logs. */
const newestMax = 1000;
const requestMs = 5000;

export const clone: Drill = {
  name: "clone",
  summary:
    "a copy of a node's disk put back later: nothing lost, no position of its log used twice",
  faults: [
    "cut off and kill n2 or n3, and copy its disk",
    "cut off and kill it again after it has run on; start it with the copy",
  ],
  needs: "links",
  defaultForMs: 75_000,
  run: (options) => withStage({ ...options, durability: "peer(1)" }, play),
};

async function play(stage: Stage): Promise<DrillReport> {
  const { site, progress, dir } = stage;
  const image = join(dir, "image");
  await stage.until(0.08);
  const node = await nextVictim(stage, new Map());
  const dataDir = site.dataDirOf(node);
  const lost: LostMachine[] = [];
  lost.push(
    await loseNode(stage, node, "cut and kill", async () => {
      progress(`copying the disk of ${node}`);
      cpSync(dataDir, image, { recursive: true, filter: isOnDisk });
    }),
  );
  const first = await ownLogs(stage, node);
  await stage.until(0.5);
  const before = await ownLogs(stage, node);
  lost.push(
    await loseNode(stage, node, "cut and kill", async () => {
      progress(`putting the copy back`);
      rmSync(dataDir, { recursive: true });
      cpSync(image, dataDir, { recursive: true });
    }),
  );
  const after = await newLogs(stage, node, new Set([...first, ...before]));
  rmSync(image, { recursive: true });
  await stage.until(1);
  return await concludeLosses(stage, "clone", lost, {
    promises: [
      atMost(
        "K1",
        "logs that the node went on with, of before the copy was put back",
        after.old,
        0,
        "logs",
      ),
      atLeast("K2", "logs that it began after the copy was put back", after.begun, 1, "logs"),
    ],
  });
}

/** Sockets and pipes are no part of a disk. */
function isOnDisk(path: string): boolean {
  const found = lstatSync(path);
  return found.isFile() || found.isDirectory();
}

type Accepted = { readonly origin: string; readonly at: string };

/** Names of the node's logs that stand in its newest entries; each life has its own. */
async function ownLogs(stage: Stage, node: string, fromMs = 0): Promise<Set<string>> {
  const entries = await newestEntries(stage, fromMs);
  return new Set(
    entries.filter(({ origin }) => origin.startsWith(`${node}.`)).map(({ origin }) => origin),
  );
}

/** Waits until the node has accepted entries again, and says under which names. */
async function newLogs(
  stage: Stage,
  node: string,
  known: ReadonlySet<string>,
): Promise<{ old: number; begun: number }> {
  const { clock, signal, slowness } = stage;
  const fromMs = clock.wallMs();
  const logs = await waitUntil<Set<string>>(
    `${node} to accept entries again`,
    async () => {
      const found = await ownLogs(stage, node, fromMs);
      return found.size > 0 ? { found } : { missing: "none of its entries is new" };
    },
    { clock, signal, timeoutMs: patienceMs * slowness },
  );
  const old = [...logs].filter((log) => known.has(log)).length;
  return { old, begun: logs.size - old };
}

/** As the first node lists them. */
async function newestEntries(stage: Stage, fromMs: number): Promise<readonly Accepted[]> {
  const [asked] = stage.site.nodes;
  const url = `${asked?.gateway}/v1/streams/${streamName}/entries?newest=${newestMax}`;
  const limit = deadline(stage.clock, requestMs * stage.slowness, { parent: stage.signal });
  const headers = { authorization: `Bearer ${asked?.token}` };
  let answer: Dispatcher.ResponseData;
  let text: string;
  try {
    answer = await request(url, { headers, signal: limit.signal });
    text = await answer.body.text();
  } finally {
    limit.done();
  }
  if (answer.statusCode !== 200)
    throw new SkerryError({
      code: "drill-step-failed",
      message: `the newest entries could not be read: ${answer.statusCode} ${text.slice(0, 200)}`,
    });
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Accepted)
    .filter(({ at }) => Date.parse(at) >= fromMs);
}
