/**
 * The cell's way to the fleet: the server enrols the cell and tells its nodes where the hub is; every
 * node says every second how it is.
 */
import { configMapKind, type ConfigMap, type NodeReport } from "../../api/index.ts";
import {
  acceptCellAnswer,
  cellRequest,
  intermediateIsDue,
  parseJoinToken,
  readCertificatesPem,
  spkiPin,
  type Trust,
} from "../../identity/index.ts";
import type { Membership } from "../../membership/index.ts";
import { decodeHubHeard } from "../../fleet/index.ts";
import { every } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Resources } from "../../resources/index.ts";
import { enrol, parseProxy, type Proxy } from "../../transport/index.ts";
import { cellConfigName } from "../bindings.ts";
import type { Ground } from "../ground.ts";
import { addressOf } from "../host-port.ts";
import { createHubWord } from "../hub-word.ts";
import type { IdentityPath } from "./identity-path.ts";
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
    /** After each try; undefined when nothing is wrong. */
    onOutcome: (failure: Error | undefined) => void;
  },
): Promise<void> {
  const { clock, log, lifecycle, record } = ground;
  const { hub } = record;
  if (hub === undefined) return;
  let isTold = false;
  let isTrusted = false;
  const run = async () => {
    try {
      await enrolOnce();
      deps.onOutcome(undefined);
    } catch (error) {
      deps.onOutcome(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }
  };
  const enrolOnce = async () => {
    isTold ||= await tellNodes(deps.resources, hub, log);
    const isNew = await enrolAtHub({ clock, log }, deps.identity, {
      address: hub,
      proxy: record.hubProxy === undefined ? undefined : parseProxy(record.hubProxy),
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

/**
 * Servers: enrols the cell at the hub with the token, or renews what the hub signed when it is due.
 * True when something was signed. Throws what the hub says; without a hub the cell loses nothing
 * but the hub.
 */
async function enrolAtHub(
  deps: Pick<Ground, "clock" | "log">,
  path: IdentityPath,
  hub: { address: string; proxy: Proxy | undefined; token?: string },
): Promise<boolean> {
  const { authority, time } = path;
  if (!authority || !intermediateIsDue(authority, time.nowMs())) return false;
  const isEnrolled = authority.hub !== undefined;
  const expected = authority.hub
    ? knownHub(authority.hub.trust)
    : hub.token === undefined
      ? undefined
      : parseJoinToken(hub.token);
  if (!expected) {
    throw new SkerryError({
      code: "invalid-config",
      message: "hubToken: missing; this cell is not enrolled at a hub yet",
      hint: "on the hub: skerry token create --cell NAME; here: skerry up --hub HOST:PORT --hub-token TOKEN",
    });
  }
  const request = await cellRequest(
    authority,
    isEnrolled || hub.token === undefined ? {} : { token: hub.token },
  );
  const { trustDomain, pin } = expected;
  const answer = await enrol(
    { clock: deps.clock, nowMs: () => time.nowMs() },
    { ...addressOf(hub.address), proxy: hub.proxy, trustDomain, pin, request },
  );
  time.raiseTo(acceptCellAnswer(authority, answer).nowMs);
  deps.log.info("enrolled at the hub", { hub: hub.address });
  return true;
}

function knownHub({
  trustDomain,
  anchorsPem,
}: Trust): { trustDomain: string; pin: string } | undefined {
  const [anchor] = anchorsPem.flatMap(readCertificatesPem);
  return (
    anchor && {
      trustDomain,
      pin: spkiPin(anchor.publicKey.export({ type: "spki", format: "der" })),
    }
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
