/**
 * `hub-loss`: what the cloud's side stands on goes away while entries stream in: PostgreSQL is killed
 * and frozen, the hub's process is killed, and both at once, as when their machine loses power. The
 * cell must not notice, and what it sends on must arrive once.
 */
import { explain } from "../../lib/errors.ts";
import { createTlsFetch } from "../../runtime/tls-fetch/index.ts";
import type { Drill, DrillReport, FaultRecord } from "../drill.ts";
import { startDatabase, type Database } from "../site/database.ts";
import { podProcesses, podsOffAfter } from "../site/whole.ts";
import { hubLossPromises, type HubLoss, type Look } from "./hub-loss-verdict.ts";
import { wholePatienceMs } from "./losses.ts";
import { withStage, type Stage } from "./stage.ts";
import {
  caughtUp,
  dataPromises,
  hubCatchUpMs,
  remarksOn,
  reportOf,
  requestPromises,
} from "./verdict.ts";

/** Of a run of a minute: 6 s. */
const awayShare = 0.1;
const lookEveryMs = 300;
const lookTimeoutMs = 5000;
const patienceMs = 30_000;

export const hubLoss: Drill = {
  name: "hub-loss",
  summary: "a hub on PostgreSQL loses its database, its process, and both, during ingest",
  faults: [
    "kill PostgreSQL, all of it at once; start it again",
    "freeze PostgreSQL; let it go on",
    "kill the hub; start it again",
    "kill both at once; start both again",
  ],
  needs: "machines",
  defaultForMs: 60_000,
  async run(options) {
    const { dir, network, clock, signal, progress } = options;
    progress("making a database");
    const database = await startDatabase({ dir, network, clock, signal });
    try {
      return await withStage({ ...options, hubFlags: database.hubFlags }, (stage) =>
        play(stage, database),
      );
    } finally {
      database.thaw();
      await database.kill();
    }
  },
};

type Fault = {
  /** Share of the run. */
  readonly at: number;
  readonly what: string;
  take(): Promise<unknown>;
  give(): Promise<void>;
  /** It only loses its database. */
  readonly hubLives: boolean;
};

async function play(stage: Stage, database: Database): Promise<DrillReport> {
  const { site, clock, signal } = stage;
  const pods = () =>
    podProcesses(site, {
      ...{ from: "n1", nodes: site.nodes.map(({ node }) => node) },
      ...{ clock, signal, timeoutMs: patienceMs * stage.slowness },
    });
  const startHub = () => site.startNode("hub");
  const faults: readonly Fault[] = [
    {
      at: 0.06,
      what: "kill PostgreSQL",
      take: database.kill,
      give: database.start,
      hubLives: true,
    },
    {
      at: 0.3,
      what: "freeze PostgreSQL",
      take: database.freeze,
      give: async () => database.thaw(),
      hubLives: true,
    },
    { at: 0.53, what: "kill the hub", take: site.killHub, give: startHub, hubLives: false },
    {
      at: 0.76,
      what: "kill PostgreSQL and the hub",
      take: () => Promise.all([database.kill(), site.killHub()]),
      async give() {
        await database.start();
        await startHub();
      },
      hubLives: false,
    },
  ];
  const before = await pods();
  const losses: HubLoss[] = [];
  const records: FaultRecord[] = [];
  for (const { at, what, take, give, hubLives } of faults) {
    await stage.until(at);
    stage.progress(what);
    const atMs = stage.since();
    await take();
    const looks = await lookFor(stage, stage.forMs * awayShare, hubLives);
    stage.progress("giving it back");
    const returnedMs = stage.since();
    await give();
    const caughtUpMs = await catchUp(stage, what);
    losses.push({ what, looks, hubLives, caughtUpMs });
    records.push({ atMs, fault: what, recoveredMs: returnedMs + caughtUpMs });
  }
  await stage.until(1);
  const after = await pods();
  const podsOff = await podsOffAfter(site, { clock, signal, timeoutMs: wholePatienceMs });
  const seen = await stage.finish();
  for (const remark of remarksOn(seen, [])) stage.progress(remark);
  return reportOf("hub-loss", seen, {
    outages: [],
    promises: [
      ...dataPromises(seen),
      ...requestPromises(seen, []),
      ...hubLossPromises({ losses, before, after, podsOff }),
    ],
    faults: records,
  });
}

/** How long the hub took to hold all that was acknowledged until now. */
async function catchUp(stage: Stage, what: string): Promise<number> {
  const name = what.replaceAll(" ", "-");
  const check = await stage
    .startCheck(name, {
      acknowledgedPath: stage.copyAcknowledged(name),
      views: ["hub"],
      timeoutMs: hubCatchUpMs * stage.slowness,
    })
    .finish();
  return caughtUp(check, "hub");
}

/** What the hub says of itself meanwhile. */
async function lookFor(stage: Stage, forMs: number, hubLives: boolean): Promise<readonly Look[]> {
  const { clock, signal, site } = stage;
  const looks: Look[] = [];
  const tls = createTlsFetch({ ...site.hubAccess, timeoutMs: lookTimeoutMs });
  const startedMs = clock.monotonicMs();
  const ask = async (path: string) => {
    try {
      const answer = await tls.fetch(`${site.hubAccess.server}${path}`);
      await answer.text();
      return String(answer.status);
    } catch (error) {
      return explain(error);
    }
  };
  try {
    for (let atMs = 0; atMs < forMs; atMs = clock.monotonicMs() - startedMs) {
      if (hubLives) looks.push({ atMs, live: await ask("/livez"), ready: await ask("/readyz") });
      await clock.sleep(lookEveryMs, { signal });
    }
  } finally {
    await tls.close();
  }
  return looks;
}
