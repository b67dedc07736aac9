/**
 * The way of the cell's address: the leader's word in the ledger → asked again and again by the node it
 * names → that node's interface, its neighbours, its listeners, its certificate.
 */
import {
  canHoldAddress,
  cellAddressAnnotation,
  cellAddressKind,
  nodeKind,
  serverRoleLabel,
  withoutPrefix,
  type CellAddress,
  type Node,
} from "../../api/index.ts";
import type { NodeIdentity, Renewal } from "../../identity/index.ts";
import type { MqttListener } from "../../ingest/index.ts";
import { every } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Membership } from "../../membership/index.ts";
import { bootTimeMs } from "../../runtime/clock/index.ts";
import {
  createHostNetwork,
  startCellAddresses,
  type AddressService,
} from "../../traffic/address/index.ts";
import type { Traffic } from "../../traffic/index.ts";
import type { AgentConfig } from "../config.ts";
import type { Ground } from "../ground.ts";
import { notReady, type ApiPath, type StatePath } from "./command-path.ts";

/** Given at the first start of a cell; a person changes it where it then stands, in the cell's state. */
export const cellAddressName = "cell";

/** A certificate that does not name an address yet is asked for this often. */
const namesEveryMs = 5000;

export async function startAddressPath(
  ground: Ground,
  deps: {
    state: StatePath;
    membership: Membership;
    traffic: Traffic;
    mqtt: readonly MqttListener[];
    api: ApiPath;
    identity: NodeIdentity;
    renewal: Pick<Renewal, "renew">;
  },
): Promise<void> {
  const { clock, log, metrics, lifecycle, record } = ground;
  const { state, traffic, identity } = deps;
  let nodes: readonly Node[] = [];
  let addresses: readonly CellAddress[] = [];
  state.mirrored.follow(nodeKind, (now: readonly Node[]) => (nodes = now));

  const services: AddressService[] = [
    {
      name: "ingress",
      listen: async (host) => ({ close: await traffic.listenAlso(host) }),
    },
    ...deps.mqtt.map((listener) => ({
      name: "MQTT",
      listen: (host: string) => listener.alsoAt(host),
    })),
    { name: "the cell API", listen: (host) => deps.api.alsoAt(host) },
  ];
  const held = await lifecycle.start(
    "cell addresses",
    () =>
      startCellAddresses(
        {
          clock,
          bootTimeMs,
          log,
          metrics,
          network: createHostNetwork({ log }),
          ports: {
            node: record.node,
            services,
            async ask(name, signal) {
              const found = await state.upstream.get(cellAddressKind, { name }, { signal });
              return found && { holder: found.status?.holder };
            },
            mayStay: () => mayStay(record.node, nodes, deps.membership.verdicts()),
            async tell(words) {
              const annotations = Object.fromEntries(
                Object.entries(words).map(([name, word]) => [cellAddressAnnotation(name), word]),
              );
              const result = await state.upstream.patch(
                nodeKind,
                { name: record.node },
                { type: "merge", body: { metadata: { annotations } } },
              );
              if (result.state === "done") return;
              throw new SkerryError({
                code: "node-not-told",
                message: `Node ${record.node} was not written: ${result.state === "refused" ? result.message : result.state}`,
                retryable: true,
              });
            },
            notReady: () =>
              traffic.running ? notReady(state) : "its ingress is being started again",
            hasOthers: () => nodes.length > 1,
          },
        },
        { canHold: canHoldAddress },
      ),
    (part) => part.stop(),
  );
  await lifecycle.start(
    "cell addresses beside the servers",
    () => state.silence.onChange(() => held.recheck()),
    (unsubscribe) => unsubscribe(),
  );
  const names = () => [
    ...new Set([
      record.host,
      ...addresses.flatMap(({ spec }) => spec.addresses.map(withoutPrefix)),
    ]),
  ];
  let isToldUnnamed = false;
  await lifecycle.start(
    "names of the certificate",
    () =>
      every(
        clock,
        namesEveryMs,
        async () => {
          const wanted = names();
          if (wanted.every((name) => identity.addresses.includes(name))) return;
          await deps.renewal.renew({ addresses: wanted });
          isToldUnnamed = false;
        },
        (error) => {
          log[isToldUnnamed ? "debug" : "warn"](
            "the serving certificate does not name all of this node's addresses yet",
            { wanted: names(), error },
          );
          isToldUnnamed = true;
        },
      ),
    (timer) => timer.cancel(),
  );
  state.mirrored.follow(cellAddressKind, (now: readonly CellAddress[]) => {
    addresses = now;
    held.follow(
      now.map(({ metadata, spec, status }) => ({
        name: metadata.name,
        addresses: spec.addresses,
        interface: spec.interface,
        holder: status?.holder,
      })),
    );
  });
}

/**
 * No server answers, nor is one heard. With several servers, those that are left may have given the address away. With
 * one it may do so while it reaches half of the cell at least (C22, rule E): who is with the other,
 * larger part holds on to what it has.
 */
export function mayStay(
  self: string,
  nodes: readonly Node[],
  verdicts: ReturnType<Membership["verdicts"]>,
): boolean {
  const servers = nodes.filter(({ metadata }) => metadata.labels?.[serverRoleLabel] !== undefined);
  const [server] = servers;
  if (!server || servers.length !== 1) return false;
  // One that is heard can be asked: its word may be another by now.
  const heard = verdicts.get(server.metadata.name)?.state;
  if (heard !== "unreachable" && heard !== "agent-down") return false;
  const reached = nodes.filter(({ metadata }) => {
    const state = metadata.name === self ? "alive" : verdicts.get(metadata.name)?.state;
    return state === "alive" || state === "agent-down" || state === "link-down";
  });
  return reached.length * 2 > nodes.length;
}

/**
 * First machine of a cell: the address it was started with, unless the cell has one of that name.
 * Throws `invalid-config`, before anything is half done, where this machine could never hold it.
 */
export async function foundCellAddress(
  { log, record }: Pick<Ground, "log" | "record">,
  { upstream }: Pick<StatePath, "upstream">,
  { cellAddress, cellAddressInterface }: AgentConfig,
): Promise<void> {
  if (cellAddress === undefined) return;
  const why =
    record.role === "server"
      ? await createHostNetwork({ log }).whyNot()
      : "it is given on the first machine of a cell";
  if (why !== undefined)
    throw new SkerryError({
      code: "invalid-config",
      message: `cellAddress: ${cellAddress} cannot be held: ${why}`,
      hint: "leave --cell-address out, or start the agent as root",
    });
  const wanted: CellAddress["spec"] = {
    addresses: cellAddress.split(","),
    ...(cellAddressInterface === undefined ? {} : { interface: cellAddressInterface }),
  };
  const found = await upstream.get(cellAddressKind, { name: cellAddressName });
  if (found) {
    if (JSON.stringify(found.spec) !== JSON.stringify(wanted))
      log.warn("the cell's address is not the one this node was started with", {
        started: wanted,
        inUse: found.spec,
        hint: `change it with kubectl edit celladdress ${cellAddressName}`,
      });
    return;
  }
  const result = await upstream.create(cellAddressKind, {
    apiVersion: "skerry.dev/v1alpha1",
    kind: "CellAddress",
    metadata: { name: cellAddressName },
    spec: wanted,
  });
  if (result.state === "refused" && result.reason !== "exists")
    throw new SkerryError({
      code: "invalid-config",
      message: `cellAddress: ${result.message}`,
      hint: "an address with its network's prefix, as 192.0.2.50/24",
    });
}
