/**
 * `power-cut`: the power of a node, of the server and of the whole site fails under load; what was not
 * synced is gone, dropped or torn (faults/power-cut-model.ts), and everything starts from cold. Before
 * that 200 cuts at any point of what the rooms do to the disk (simulated/power-cut).
 */
import { nodeKind } from "../../api/index.ts";
import { entryUrl } from "../../runtime/child/index.ts";
import type { Drill, DrillOptions, DrillReport } from "../drill.ts";
import { buildShim } from "../faults/power-cut-shim.ts";
import type { CutsOptions, CutsResult } from "../simulated/power-cut/cuts.ts";
import type { MachineName } from "../site/network.ts";
import { waitWhole } from "../site/whole.ts";
import { startWorker } from "../site/worker.ts";
import { powerSite, type SitePower } from "./power-cut-site.ts";
import { powerPromises, type DesiredState } from "./power-cut-verdict.ts";
import { withStage, type Stage } from "./stage.ts";
import {
  dataPromises,
  endOutages,
  notMeasured,
  remarksOn,
  reportOf,
  requestPromises,
} from "./verdict.ts";

const roomCuts = 200;
const darkMs = 3000;
const wholePatienceMs = 60_000;
const wholeSite: readonly MachineName[] = ["hub", "n1", "n2", "n3"];
const writeEveryMs = 200;
const annotation = "drill.skerry.dev/written";

export const powerCut: Drill = {
  name: "power-cut",
  summary:
    "power of a node, the server and the whole site cut: what was not synced is dropped or torn",
  faults: [
    `${roomCuts} cuts at any point of what stores, identity and records do to a disk`,
    "power of n2 or n3 cut",
    "power of n1 (the server) cut",
    "power of the whole site cut, hub included",
    "power of the other worker cut",
  ],
  needs: "machines",
  defaultForMs: 60_000,
  run,
};

async function run(options: DrillOptions): Promise<DrillReport> {
  // Without a compiler nothing of this can run: said before anything is started.
  const shim = buildShim();
  const rooms = await cutRooms(options, shim);
  using power = powerSite({ dir: options.dir, machines: wholeSite, shim });
  return await withStage({ ...options, env: power.envOf }, (stage) => play(stage, power, rooms));
}

async function cutRooms({ dir, seed, progress }: DrillOptions, shim: string): Promise<CutsResult> {
  progress(`${roomCuts} power cuts over the rooms' files`);
  const result = await startWorker<Omit<CutsOptions, "dir">, CutsResult>(
    entryUrl(import.meta.url, "../simulated/power-cut/cuts.entry"),
    {
      dir,
      name: "cuts",
      untilFinished: false,
      config: { seed, shim, cuts: roomCuts, cutsPerLife: 20, logBytes: 7_500_000 },
    },
  ).finish();
  for (const complaint of result.complaints.slice(0, 10)) progress(complaint);
  return result;
}

async function play(stage: Stage, power: SitePower, rooms: CutsResult): Promise<DrillReport> {
  const { dice, progress } = stage;
  const desired = writeDesired(stage);
  const [first, other] = dice.integer(2) === 0 ? ["n2", "n3"] : ["n3", "n2"];
  const cuts: readonly { share: number; machines: readonly MachineName[] }[] = [
    { share: 0.08, machines: [first] },
    { share: 0.3, machines: ["n1"] },
    { share: 0.5, machines: wholeSite },
    { share: 0.8, machines: [other] },
  ];
  let started = 0;
  try {
    for (const { share, machines } of cuts) {
      await stage.until(share);
      started += await cutAndStart(stage, power, machines);
      await desired.look();
    }
    await stage.until(1);
  } finally {
    desired.stop();
  }
  const seen = await stage.finish();
  const outages = endOutages(seen);
  const promises = [
    ...dataPromises(seen),
    ...requestPromises(seen, outages),
    ...powerPromises({
      rooms,
      roomCuts,
      desired: desired.seen(),
      started,
      cut: cuts.reduce((sum, { machines }) => sum + machines.length, 0),
    }),
  ];
  for (const remark of remarksOn(seen, outages)) progress(remark);
  return reportOf("power-cut", seen, {
    promises,
    outages,
    faults: [
      ...seen.faults,
      ...outages.map(({ atMs, fault, returnedMs, toMs }) => ({
        atMs,
        fault,
        ...(toMs === notMeasured ? {} : { recoveredMs: Math.round(toMs - (returnedMs ?? toMs)) }),
      })),
    ],
  });
}

/** How many of the machines came back. */
async function cutAndStart(
  stage: Stage,
  power: SitePower,
  machines: readonly MachineName[],
): Promise<number> {
  const { site, clock, signal, progress, dice } = stage;
  const name = machines.length > 1 ? "the whole site" : machines.join();
  progress(`cutting the power of ${name}`);
  const begin = { atMs: stage.since(), fromMs: clock.wallMs() };
  await power.cut(site, machines, dice);
  await clock.sleep(darkMs, { signal });
  progress(`${name} starts from cold`);
  await Promise.all(machines.map((machine) => site.startNode(machine)));
  await waitWhole(site, { clock, signal, timeoutMs: wholePatienceMs * stage.slowness });
  const returnedMs = clock.wallMs();
  for (const node of machines.filter((machine) => machine !== "hub"))
    stage.outages.push({ node, fault: `power of ${node} cut`, ...begin, returnedMs });
  return machines.length;
}

/** Writes desired state all the time; what was acknowledged must never be found older. */
function writeDesired({ site, clock }: Stage): {
  look(): Promise<void>;
  stop(): void;
  seen(): DesiredState;
} {
  const stop = new AbortController();
  let next = 0;
  let acknowledged = 0;
  let looks = 0;
  let lost = 0;
  const write = async (value: number) => {
    await site.cluster.apply(nodeKind, {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: "n1", annotations: { [annotation]: String(value) } },
    });
    acknowledged = value;
  };
  const work = async () => {
    while (!stop.signal.aborted) {
      // Refused or unknown: neither was promised.
      await write(++next).catch(() => undefined);
      await clock.sleep(writeEveryMs);
    }
  };
  void work();
  return {
    async look() {
      const promised = acknowledged;
      const node = await site.cluster.get(nodeKind, { namespace: "", name: "n1" });
      looks++;
      if (Number(node?.metadata.annotations?.[annotation] ?? 0) < promised) lost++;
    },
    stop: () => stop.abort(),
    seen: () => ({ acknowledged, looks, lost }),
  };
}
