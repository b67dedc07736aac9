/**
 * `clock`: wall clocks jump a year ahead, to 1970 and back and forth while everything runs, and a machine
 * starts from cold in 1970. No entry may be removed by an age it has not got, no pod lost to a clock, no
 * certificate refused for good; and of two writes of which one knew the other, the later stands,
 * whatever their machines took for the time.
 */
import { collectionKind } from "../../api/index.ts";
import { createDocuments, type DocumentClient } from "../../client/index.ts";
import { buildWallClock, createWallClock, type WallClock } from "../faults/wall-clock.ts";
import type { Drill, DrillReport } from "../drill.ts";
import { machineNames } from "../site/site.ts";
import { podProcesses, podsOffAfter, waitUntil } from "../site/whole.ts";
import { clockPromises, type ClockSeen } from "./clock-verdict.ts";
import { killAgent } from "./kill-agent.ts";
import { concludeLosses, loseNode, wholePatienceMs } from "./losses.ts";
import { withStage, type Stage } from "./stage.ts";
import { notMeasured } from "./verdict.ts";

const hourMs = 3_600_000;
const yearMs = 365 * 24 * hourMs;
/** Of a run of a minute and a quarter: 6 s. */
const wrongShare = 0.08;
const collection = "clocks";
const counter = "all";
const patienceMs = 30_000;
const writeEveryMs = 300;

export const clock: Drill = {
  name: "clock",
  summary:
    "wall clocks jump to 1970, a year ahead, back and forth: nothing expires, nothing is lost",
  faults: [
    "n3 a year ahead, and back",
    "n2 in 1970, where its agent is killed, and back",
    "n1 (the server) an hour behind, an hour ahead, and back",
    "kill n3; start it in 1970; set its clock right",
  ],
  needs: "machines",
  defaultForMs: 75_000,
  async run(options) {
    // Without a compiler nothing of this can run: said before anything is started.
    const shim = buildWallClock();
    using clocks = new DisposableStack();
    const byMachine = new Map(
      machineNames.map((machine) => {
        const folder = options.dir;
        return [machine, clocks.use(createWallClock({ shim, folder, machine }))];
      }),
    );
    return await withStage(
      { ...options, env: (machine) => byMachine.get(machine)?.env ?? {} },
      (stage) => play(stage, byMachine),
    );
  },
};

async function play(stage: Stage, clocks: ReadonlyMap<string, WallClock>): Promise<DrillReport> {
  const { site, clock: time, signal, progress, faults } = stage;
  const set = (machine: string, offsetMs: number, what: string) => {
    progress(`${machine}: ${what}`);
    clocks.get(machine)?.set(offsetMs);
    faults.push({ atMs: stage.since(), fault: `${machine} ${what}` });
  };
  const in1970 = () => -time.wallMs();
  const right = (machine: string) => set(machine, 0, "right again");
  const look = { from: "n1", nodes: site.nodes.map(({ node }) => node), clock: time, signal };
  const pods = () => podProcesses(site, { ...look, timeoutMs: patienceMs * stage.slowness });
  const documents = new Map(
    site.nodes.map(({ node, gateway, token }) => [node, createDocuments({ url: gateway, token })]),
  );
  await declareCollection(stage, documents);

  const before = await pods();
  const ahead = async () => {
    set("n3", yearMs, "a year ahead");
    const written = await writeFor(stage, documents, "n3");
    right("n3");
    return written;
  };
  const behind = async () => {
    set("n2", in1970(), "in 1970");
    await killAgent(stage, "n2", "SIGKILL");
    const written = await writeFor(stage, documents, "n2");
    right("n2");
    return written;
  };
  const server = async () => {
    set("n1", -hourMs, "an hour behind");
    const slow = await writeFor(stage, documents, "n1");
    set("n1", hourMs, "an hour ahead");
    const fast = await writeFor(stage, documents, "n1");
    right("n1");
    return together([slow, fast]);
  };
  const steps = [
    { at: 0.05, step: ahead },
    { at: 0.22, step: behind },
    { at: 0.42, step: server },
  ];
  const written: Written[] = [];
  for (const { at, step } of steps) {
    await stage.until(at);
    written.push(await step());
  }
  const after = await pods();

  await stage.until(0.68);
  const lost = await loseNode(stage, "n3", "kill", async () => {
    set("n3", in1970(), "in 1970");
  });
  written.push(await writeFor(stage, documents, "n3"));
  right("n3");
  await stage.until(1);
  const podsOff = await podsOffAfter(site, { clock: time, signal, timeoutMs: wholePatienceMs });
  const seen: ClockSeen = {
    ...together(written),
    ...(await compare(stage, documents)),
    before,
    after,
    podsOff,
  };
  return await concludeLosses(stage, "clock", [lost], { promises: clockPromises(seen) });
}

/** What was written while a clock was wrong. */
type Written = Pick<ClockSeen, "tries" | "undone" | "incremented">;

const together = (parts: readonly Written[]): Written => ({
  tries: parts.reduce((sum, { tries }) => sum + tries, 0),
  undone: parts.reduce((sum, { undone }) => sum + undone, 0),
  incremented: parts.reduce((sum, { incremented }) => sum + incremented, 0),
});

async function declareCollection(
  stage: Stage,
  documents: ReadonlyMap<string, DocumentClient>,
): Promise<void> {
  await stage.site.cluster.apply(collectionKind, {
    apiVersion: "skerry.dev/v1alpha1",
    kind: "Collection",
    metadata: { name: collection },
    spec: { description: "written by the drill", fields: [{ path: "/count", type: "counter" }] },
  });
  const [first] = documents.values();
  await waitUntil(
    "the first document",
    async () => ({ found: await first?.put(collection, counter, { count: 0 }) }),
    patience(stage),
  );
  for (const [node, client] of documents)
    await waitUntil(
      `the first document on ${node}`,
      async () =>
        (await client.get(collection, counter)) ? { found: undefined } : { missing: "not there" },
      patience(stage),
    );
}

const patience = ({ clock: time, signal, slowness }: Stage) => ({
  ...{ clock: time, signal },
  timeoutMs: patienceMs * slowness,
});

/**
 * Writes at the node whose clock is wrong, and over it, once that was seen, at another one; counts at
 * all of them meanwhile.
 */
async function writeFor(
  stage: Stage,
  documents: ReadonlyMap<string, DocumentClient>,
  wrong: string,
): Promise<Written> {
  const { clock: time, forMs, signal } = stage;
  const other = [...documents.keys()].find((node) => node !== wrong) ?? "";
  const at = (node: string) => documents.get(node) as DocumentClient;
  const untilMs = time.monotonicMs() + forMs * wrongShare;
  const written = { tries: 0, undone: 0, incremented: 0 };
  while (time.monotonicMs() < untilMs) {
    const id = `${wrong}-${stage.since()}`;
    await at(wrong).put(collection, id, { text: "first" });
    await arrive(stage, at(other), id, "first");
    await at(other).merge(collection, id, { text: "second" });
    written.tries++;
    for (const client of documents.values())
      if (!(await arrive(stage, client, id, "second"))) written.undone++;
    for (const [node, client] of documents) {
      await client.change(collection, counter, [{ change: "increment", path: "/count", by: 1 }], {
        key: `${id}-${node}`,
      });
      written.incremented++;
    }
    await time.sleep(writeEveryMs, { signal });
  }
  return written;
}

/** Whether the document says so there within the patience. */
async function arrive(
  stage: Stage,
  client: DocumentClient,
  id: string,
  text: string,
): Promise<boolean> {
  try {
    await waitUntil(
      `${id} to say "${text}"`,
      async () => {
        const body = (await client.get(collection, id))?.body;
        return body?.["text"] === text
          ? { found: undefined }
          : { missing: `it says ${JSON.stringify(body)}` };
      },
      patience(stage),
    );
    return true;
  } catch (error) {
    if (stage.signal.aborted) throw error;
    return false;
  }
}

/** All documents on all nodes, once they are equal or patience is over. */
async function compare(
  stage: Stage,
  documents: ReadonlyMap<string, DocumentClient>,
): Promise<Pick<ClockSeen, "counted" | "unequal">> {
  const contents = async () => {
    const texts: string[] = [];
    for (const client of documents.values()) {
      const lines: string[] = [];
      for await (const { id, body } of client.list(collection))
        lines.push(`${id} ${JSON.stringify(body)}`);
      texts.push(lines.join("\n"));
    }
    return texts;
  };
  const equal = async (): Promise<{ found: number } | { missing: string }> => {
    const different = new Set(await contents()).size - 1;
    return different === 0 ? { found: 0 } : { missing: `${different + 1} different copies` };
  };
  const unequal = await waitUntil<number>("equal documents", equal, patience(stage)).catch(() => 1);
  const counts: number[] = [];
  for (const client of documents.values()) {
    const count = (await client.get(collection, counter))?.body["count"];
    counts.push(typeof count === "number" ? count : notMeasured);
  }
  return { unequal, counted: counts };
}
