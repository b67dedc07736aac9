/**
 * `one-address`: one client, one address. Its holder is cut off for a moment, cut off for longer than
 * its lease, cut off and killed, and frozen, in an order that comes from the seed; each comes back. The client is an
 * ordinary one (HTTP and MQTT over TCP, reconnecting), and the network is asked each second who answers.
 */
import { cellAddressKind, eventKind } from "../../api/index.ts";
import { applyStream, exampleStream } from "../../client/index.ts";
import { entryUrl } from "../../runtime/child/index.ts";
import type { Drill, DrillReport } from "../drill.ts";
import type { RequestLoadConfig, RequestLoadResult } from "../load/requests.ts";
import { startSteadyPublisher } from "../load/steady-mqtt.ts";
import { watchArp } from "../site/arp-watch.ts";
import { waitUntil, waitWhole } from "../site/whole.ts";
import { startWorker } from "../site/worker.ts";
import {
  oneAddressPromises,
  oneAddressRecords,
  oneAddressRemarks,
  type Turn,
} from "./one-address-verdict.ts";
import { withStage, type Stage } from "./stage.ts";
import { dataPromises, endOutages, reportOf } from "./verdict.ts";

type Loss = "cut for a moment" | "cut" | "cut and kill" | "freeze";
const losses: readonly Loss[] = ["cut for a moment", "cut", "cut and kill", "freeze"];

const name = "cell";
const stream = "device";
/** Longer than a holder's lease and what a kernel may be late. */
const holdMs = 9500;
const movedPatienceMs = 15_000;
const wholePatienceMs = 60_000;
/** The server's own holding ends 10 s after two workers could hold it. */
const settledPatienceMs = 60_000;
/** After all is back: long enough for an address that goes back to be seen. */
const aftermathMs = 5000;
const requestsPerSecond = 50;
/** What an ordinary client waits before it tries again. */
const clientPatienceMs = 1000;

export const oneAddress: Drill = {
  name: "one-address",
  summary: "the holder of the cell's address cut off, killed and frozen, under one client's eyes",
  faults: [
    "cut off the holder for a moment, and for longer than its lease",
    "cut off and kill the holder, and start it again",
    "freeze the holder, and thaw it",
  ],
  needs: "links",
  defaultForMs: 120_000,
  run(options) {
    const address = addressOn(options.network.hostOf("observer"));
    const given = { ...options, firstNodeFlags: ["--cell-address", `${address}/24`] };
    return withStage(given, (stage) => play(stage, address));
  },
};

const addressOn = (neighbour: string) => neighbour.replace(/\d+$/, "50");

async function play(stage: Stage, address: string): Promise<DrillReport> {
  const { site, clock, dice, signal, dir, slowness, progress } = stage;
  await applyStream(site.cluster, exampleStream(stream, ["value", "site"], "of one device"));
  const status = async () => (await site.cluster.get(cellAddressKind, { name }))?.status;
  progress("waiting for a worker to hold the address");
  await workerHolding(stage, status);
  const arp = await watchArp(
    { clock },
    { address, from: "eth0", on: (argv) => stage.network.on("hub", argv) },
  );
  const requests = startWorker<RequestLoadConfig, RequestLoadResult>(
    entryUrl(import.meta.url, "../load/requests.entry"),
    {
      dir,
      name: "one-client",
      untilFinished: true,
      config: {
        targets: [{ name: "address", url: `http://${address}:8080/echo` }],
        perSecond: requestsPerSecond / slowness,
        deadlineMs: clientPatienceMs * slowness,
        inFlightMax: 200,
      },
    },
  );
  const device = startSteadyPublisher({
    host: address,
    port: 1883,
    topic: `streams/${stream}`,
    token: site.nodes[0]?.token ?? "",
    periodMs: 50,
    patienceMs: clientPatienceMs * slowness,
    clock,
  });
  const turns: Turn[] = [];
  try {
    await clock.sleep(aftermathMs, { signal });
    const order = losses.map((loss) => ({ loss, at: dice.float() })).sort((a, b) => a.at - b.at);
    for (const { loss } of order) turns.push(await loseHolder(stage, loss, status));
    // That the last silence is over is seen by what is answered after it.
    await clock.sleep(clientPatienceMs * slowness, { signal });
  } finally {
    if (signal.aborted) requests.abandon();
    await Promise.all([device.stop(), arp.stop()]);
  }
  const events = await site.cluster.list(eventKind, { namespace: "default" });
  const told = events
    .filter(({ reason }) => reason === "AddressMoved")
    .reduce((sum, { count = 1 }) => sum + count, 0);
  const { samples } = await requests.finish();
  const ended = await stage.finish();
  const seen = {
    patienceMs: clientPatienceMs * slowness,
    turns,
    samples,
    acknowledgedMs: device.acknowledgedMs,
    arp: arp.samples,
    // Some were told before the load began.
    told: Math.min(told, turns.length),
  };
  for (const remark of oneAddressRemarks(seen)) progress(remark);
  return reportOf("one-address", ended, {
    promises: [...oneAddressPromises(seen), ...dataPromises(ended)],
    outages: endOutages(ended),
    faults: oneAddressRecords(seen),
  });
}

type Status = () => Promise<
  { readonly holder?: string | undefined; readonly moves?: number | undefined } | undefined
>;

/**
 * The only server gives it away to a worker as soon as there is one: what it holds nobody could move
 * when it is lost.
 */
function workerHolding(
  { clock, signal, slowness }: Stage,
  status: Status,
): Promise<{ readonly holder: string; readonly moves: number }> {
  return waitUntil<{ holder: string; moves: number }>(
    "the address with a worker",
    async () => {
      const { holder, moves = 0 } = (await status()) ?? {};
      return holder !== undefined && holder !== "n1"
        ? { found: { holder, moves } }
        : { missing: `held by ${holder ?? "nobody"}` };
    },
    { clock, signal, timeoutMs: settledPatienceMs * slowness },
  );
}

async function loseHolder(stage: Stage, loss: Loss, status: Status): Promise<Turn> {
  const { site, clock, signal, slowness, progress } = stage;
  const { holder, moves: movesBefore } = await workerHolding(stage, status);
  progress(`${loss} ${holder}, which holds the address`);
  const begin = {
    node: holder,
    fault: `${loss} ${holder}`,
    atMs: stage.since(),
    fromMs: clock.wallMs(),
  };
  if (loss === "freeze") await site.freezeNode(holder);
  else await site.cutLink(holder);
  if (loss === "cut and kill") await site.killNode(holder);
  const next = await heldByAnother(stage, holder, status);
  if (loss !== "cut for a moment")
    await clock.sleep(Math.max(0, holdMs - (clock.wallMs() - begin.fromMs)), { signal });

  progress(`${holder} comes back; ${next ?? "nobody"} holds the address`);
  const healedMs = clock.wallMs();
  if (loss === "freeze") site.thawNode(holder);
  else await site.healLink(holder);
  if (loss === "cut and kill") await site.startNode(holder);
  stage.outages.push({ ...begin, returnedMs: clock.wallMs() });
  await waitWhole(site, { clock, signal, timeoutMs: wholePatienceMs * slowness });
  await clock.sleep(aftermathMs, { signal });
  const settledMs = clock.wallMs();
  const moves = ((await status())?.moves ?? 0) - movesBefore;
  return {
    ...begin,
    holder,
    moves,
    ...(next === undefined ? {} : { next }),
    healedMs,
    settledMs,
    short: loss === "cut for a moment",
    frozen: loss === "freeze",
  };
}

async function heldByAnother(
  { clock, signal, slowness, progress }: Stage,
  before: string,
  status: Status,
): Promise<string | undefined> {
  try {
    return await waitUntil(
      `the address of ${before} with another`,
      async () => {
        const holder = (await status())?.holder;
        return holder !== undefined && holder !== before
          ? { found: holder }
          : { missing: `held by ${holder ?? "nobody"}` };
      },
      { clock, signal, timeoutMs: movedPatienceMs * slowness },
    );
  } catch (error) {
    if (signal.aborted) throw error;
    // The verdict says so with a number.
    progress(`nobody was given the address of ${before}`);
    return undefined;
  }
}
