/**
 * The cell's way to the fleet: the server enrols the cell and tells its nodes where the hub is; every
 * node says every second how it is.
 */
import { configMapKind, type ConfigMap, type NodeReport } from "../../api/index.ts";
import type { Membership } from "../../membership/index.ts";
import { decodeHubHeard } from "../../fleet/index.ts";
import { every } from "../../lib/clock.ts";
import type { Resources } from "../../resources/index.ts";
import { cellConfigName } from "../bindings.ts";
import type { Ground } from "../ground.ts";
import { createHubWord } from "../hub-word.ts";
import { enrolAtHub, type IdentityPath } from "./identity-path.ts";
import type { LinkPath } from "./link-path.ts";

const enrolRetryMs = 5000;
const heartbeatMs = 1000;

/** Servers with a hub: enrols now if the hub answers, and goes on trying when it does not. */
export async function startHubEnrolment(
  ground: Ground,
  deps: {
    identity: IdentityPath;
    resources: Resources;
    hubToken: string | undefined;
    onEnrolled: () => Promise<unknown>;
  },
): Promise<void> {
  const { clock, random, log, lifecycle, record } = ground;
  const { hub } = record;
  if (hub === undefined) return;
  let isTold = false;
  let isTrusted = false;
  const run = async () => {
    isTold ||= await tellNodes(deps.resources, hub, log);
    const isNew = await enrolAtHub({ clock, random, log }, deps.identity, {
      address: hub,
      ...(deps.hubToken === undefined ? {} : { token: deps.hubToken }),
    });
    // Once after each start as well: an end between the two leaves this node without the hub's trust.
    if (isTrusted && !isNew) return;
    await deps.onEnrolled();
    isTrusted = true;
  };
  const first = run().catch((error: unknown) =>
    log.warn("not enrolled at the hub yet; trying again", { hub, error }),
  );
  // A cell that is enrolled waits for no WAN to be ready.
  if (!deps.identity.authority?.hub) await first;
  await lifecycle.start(
    "hub enrolment",
    () =>
      every(
        clock,
        enrolRetryMs,
        () => first.then(run),
        (error) => log.warn("the hub does not enrol this cell", { hub, error }),
      ),
    (timer) => timer.cancel(),
  );
}

async function tellNodes(resources: Resources, hub: string, log: Ground["log"]): Promise<boolean> {
  const map: ConfigMap = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: cellConfigName, namespace: "kube-system" },
    data: { hub },
  };
  const key = { namespace: "kube-system", name: cellConfigName };
  const options = { fieldManager: "skerry-agent" };
  const result = await resources.patch(
    configMapKind,
    key,
    { type: "apply", body: map, force: true },
    options,
  );
  if (result.state !== "done")
    log.warn("the hub's address was not written for the other nodes", { outcome: result.state });
  return result.state === "done";
}

export async function startHubHeartbeat(
  ground: Ground,
  deps: { links: LinkPath; membership: Membership; report: () => Promise<NodeReport> },
): Promise<void> {
  const { clock, log, lifecycle } = ground;
  const word = createHubWord();
  const beat = async () => {
    const { link } = deps.links.hub;
    if (!link) return;
    const sentMs = clock.monotonicMs();
    const answer = await link.request(
      "hub.heartbeat",
      new TextEncoder().encode(JSON.stringify(await deps.report())),
      { timeoutMs: 3000, priority: 0 },
    );
    const { heard, listenedForMs } = word.believe({
      link,
      heard: decodeHubHeard(answer),
      sentMs,
      nowMs: clock.monotonicMs(),
    });
    deps.membership.onHubContact(heard, listenedForMs);
  };
  await lifecycle.start(
    "hub heartbeat",
    () => every(clock, heartbeatMs, beat, (error) => log.debug("heartbeat not taken", { error })),
    (timer) => timer.cancel(),
  );
}
