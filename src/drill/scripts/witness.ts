/**
 * `witness`: two servers and a witness behind a NAT, beside the hub. The server that leads is lost, then
 * the witness, then the WAN with the witness behind it: no single one of these faults stops a write of
 * desired state, the witness never keeps leadership, and status says when no further fault may come.
 */
import type { CellStatus, WitnessBundle } from "../../api/index.ts";
import { atMost, type Drill, type DrillReport, type FaultRecord } from "../drill.ts";
import { waitUntil } from "../site/whole.ts";
import { placeWitness } from "../site/witness.ts";
import { ledgerLeader, loseLeader } from "./leader-loss.ts";
import { attempt, writeThrough } from "./server-loss.ts";
import { withStage, type Stage } from "./stage.ts";
import {
  dataPromises,
  endOutages,
  ingressBackPromise,
  notMeasured,
  remarksOn,
  reportOf,
  requestPromises,
} from "./verdict.ts";

const name = "w1";
const servers = ["n1", "n2"] as const;
const port = 7447;
const patienceMs = 60_000;
const writesBackWithinMs = 5000;
const toldWithinMs = 10_000;
const writesMin = 20;
const warning = /^One fault from losing quorum/;

export const witness: Drill = {
  name: "witness",
  summary: "two servers and a witness behind a NAT: leader, witness and WAN lost, one at a time",
  faults: [
    "drop whatever connection the witness's machine begins",
    "cut off and kill the leading server, then start it",
    "kill the witness, then start it",
    "cut the WAN, with hub and witness behind it",
  ],
  needs: "links",
  defaultForMs: 90_000,
  run: (options) => withStage({ ...options, servers: 2 }, play),
};

async function play(stage: Stage): Promise<DrillReport> {
  const { site, clock, signal, slowness, progress } = stage;
  const patience = { clock, signal, timeoutMs: patienceMs * slowness };
  const address = `${site.hostOf("hub")}:${port}`;
  const bundle = await site.skerry<WitnessBundle>(
    "n1",
    ["server", "add-witness", name, "--address", address],
    signal,
  );
  const own = await placeWitness({ clock }, { network: stage.network, dir: stage.dir, bundle });
  try {
    own.start();
    const status = () => site.skerry<CellStatus>("n1", ["status"], signal);
    const memberState = async () =>
      (await status()).ledger?.members.find((member) => member.name === name);
    const voting = () =>
      waitUntil(
        "the witness to vote",
        async () => {
          const member = await memberState();
          return member?.role === "witness" && member.state !== "silent"
            ? { found: undefined }
            : { missing: JSON.stringify(member ?? "no such member") };
        },
        patience,
      );
    await voting();
    progress(`${name} votes from behind its NAT`);

    await stage.until(0.15);
    const leader = await ledgerLeader(stage, "n1");
    const lost = await loseLeader(stage, servers.find((one) => one === leader) ?? "n1");
    const after = await ledgerLeader(stage, "n1");

    await stage.until(0.6);
    progress(`killing ${name}`);
    const records: FaultRecord[] = [{ atMs: stage.since(), fault: `kill witness ${name}` }];
    await own.kill();
    await waitUntil(
      "the witness to be missed",
      async () => {
        const member = await memberState();
        return member?.state === "silent"
          ? { found: undefined }
          : { missing: JSON.stringify(member ?? "no such member") };
      },
      patience,
    );
    const withoutWitness = await refusedWrites(stage);
    own.start();
    await voting();

    progress("cutting the WAN, with the witness behind it");
    records.push({ atMs: stage.since(), fault: "cut the WAN" });
    const cutMs = clock.wallMs();
    await site.cutLink("hub");
    const warned = await toldAfter(stage, cutMs, async () => isWarned(await status()));
    const withoutWan = await refusedWrites(stage);
    const healedMs = clock.wallMs();
    await site.healLink("hub");
    const relieved = await toldAfter(stage, healedMs, async () => !isWarned(await status()));

    await stage.until(1);
    const begun = await own.begun();
    const seen = await stage.finish();
    const outages = endOutages(seen);
    const handed = own.said().match(/leadership went to/g)?.length ?? 0;
    progress(`the witness led ${handed} times and handed it on`);
    const promises = [
      ...dataPromises(seen),
      ...requestPromises(seen, outages),
      ingressBackPromise(outages),
      atMost(
        "W1",
        "from the loss of the leading server until writes of desired state are accepted through every other",
        lost.writesBackMs ?? notMeasured,
        writesBackWithinMs,
        "ms",
      ),
      atMost("W2", "witnesses that lead afterwards", after === name ? 1 : 0, 0, "members"),
      atMost("W3", "writes that failed, the witness lost", withoutWitness, 0, "writes"),
      atMost("W4", "writes that failed, the WAN cut", withoutWan, 0, "writes"),
      atMost(
        "W5",
        "from the cut until status warns that one more fault loses the quorum",
        warned ?? notMeasured,
        toldWithinMs,
        "ms",
      ),
      atMost(
        "W6",
        "from the heal until that warning has gone",
        relieved ?? notMeasured,
        toldWithinMs,
        "ms",
      ),
      atMost("W7", "connections that the witness's machine began", begun, 0, "connections"),
      atMost("R3", "pods too many or too few after all were back", lost.podsOff, 0, "pods"),
    ];
    for (const remark of remarksOn(seen, outages)) progress(remark);
    return reportOf("witness", seen, {
      promises,
      outages,
      faults: [...seen.faults, ...records],
    });
  } finally {
    await own.kill();
  }
}

const isWarned = ({ promises }: CellStatus): boolean =>
  promises.suspended.some((text) => warning.test(text));

/** Through both servers, in turn. */
async function refusedWrites(stage: Stage): Promise<number> {
  let failed = 0;
  for (let turn = 0; turn < writesMin; turn++) {
    const node = servers[turn % servers.length] ?? "n1";
    const { failure } = await attempt(stage, () => writeThrough(stage, node, turn));
    if (failure === undefined) continue;
    stage.progress(`a write through ${node} failed: ${failure}`);
    failed++;
  }
  return failed;
}

/** Undefined: not in time. */
async function toldAfter(
  { clock, signal, slowness }: Stage,
  fromMs: number,
  isTold: () => Promise<boolean>,
): Promise<number | undefined> {
  const giveUpMs = fromMs + patienceMs * slowness;
  while (clock.wallMs() < giveUpMs) {
    if (await isTold()) return Math.round(clock.wallMs() - fromMs);
    await clock.sleep(200, { signal });
  }
  return undefined;
}
