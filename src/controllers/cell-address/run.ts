/** Gives each cell address to a node, and tells of every move. */
import { cellAddressKind, serverRoleLabel, type CellAddress, type Node } from "../../api/index.ts";
import type { MonotonicMs } from "../../lib/brand.ts";
import { fieldManager, type Context, type Controller } from "../context.ts";
import { createLoop } from "../loop/loop.ts";
import { written } from "../loop/outcome.ts";
import { isTerminating, keyOf, uidOf } from "../objects.ts";
import type { Tolerance, Verdicts } from "../ports.ts";
import {
  cellAddressDefaults,
  planCellAddress,
  statusAfter,
  type CellAddressOptions,
  type CellAddressStep,
} from "./plan.ts";

/** What this leader saw beginning; another one counts anew. */
type Since = { readonly what: string; readonly fromMs: MonotonicMs };

export function createCellAddressController(
  context: Context,
  verdicts: Verdicts,
  given: Partial<CellAddressOptions> = {},
): Controller & { stop(): void } {
  const { resources, caches, clock, events } = context;
  const options = { ...cellAddressDefaults, ...given };
  const leavingByName = new Map<string, Since>();
  const betterByName = new Map<string, Since>();

  /** How long `what` has been so; undefined forgets it. */
  const sinceMs = (byName: Map<string, Since>, name: string, what: string | undefined): number => {
    const before = byName.get(name);
    if (what === undefined) byName.delete(name);
    else if (before?.what !== what) byName.set(name, { what, fromMs: clock.monotonicMs() });
    const from = byName.get(name)?.fromMs;
    return from === undefined ? 0 : clock.monotonicMs() - from;
  };

  const reconcile = async (name: string, signal: AbortSignal) => {
    const address = caches.cellAddresses.get(name);
    if (!address || isTerminating(address)) {
      leavingByName.delete(name);
      betterByName.delete(name);
      return undefined;
    }
    const leaving = address.status?.leaving;
    const uid = uidOf(address);
    const nodes = [...caches.nodes.all()];
    const better = betterByName.get(name);
    const step = planCellAddress(
      {
        address,
        nodes,
        verdicts: verdicts.verdicts(),
        self: verdicts.self,
        servers: nodes.filter(isServer).length,
        mayEvict: (node) => verdicts.mayEvict(node),
        patience: (node) => patienceOf(verdicts.tolerance(node)),
        leavingForMs: sinceMs(leavingByName, name, leaving && `${uid} ${leaving}`),
        betterForMs: better ? clock.monotonicMs() - better.fromMs : 0,
      },
      options,
    );
    const isBetter = step.do === "nothing" && step.better === true;
    sinceMs(betterByName, name, isBetter ? `${uid} ${address.status?.holder}` : undefined);
    const status = statusAfter(address, step, clock.wallMs());
    if (status) {
      const result = await resources.update(
        cellAddressKind,
        { ...address, status },
        { fieldManager, signal, subresource: "status" },
      );
      if (written(result, `celladdress ${name}`, ["not-found"])) tell(address, step);
    }
    return step.do === "nothing" && step.againMs !== undefined
      ? { againMs: step.againMs }
      : undefined;
  };

  const tell = (address: CellAddress, step: CellAddressStep) => {
    const what = address.spec.addresses.join(", ");
    const before = address.status?.holder ?? address.status?.leaving;
    switch (step.do) {
      case "give": {
        const moved = before !== undefined && before !== step.to;
        const message = `${what} ${moved ? `goes from ${before} to` : "is given to"} ${step.to}: ${step.because}`;
        events.record({
          about: address,
          type: "Normal",
          reason: moved ? "AddressMoved" : "AddressGiven",
          message,
        });
        context.log.info("a cell address has a holder", {
          address: what,
          from: before,
          to: step.to,
          because: step.because,
        });
        return;
      }
      case "withdraw":
      case "none": {
        const message = `${what} is held by nobody: ${step.because}`;
        events.record({ about: address, type: "Warning", reason: "AddressUnheld", message });
        return;
      }
      case "nothing":
        return;
      default:
        step satisfies never;
    }
  };

  const loop = createLoop(context, reconcile, { name: "cell-address", workers: 1 });
  const addAll = () => {
    for (const address of caches.cellAddresses.all()) loop.add(keyOf(address));
  };
  caches.cellAddresses.onChange(({ key }) => loop.add(key));
  caches.nodes.onChange(({ object, previous }) => {
    // Not for each heartbeat: what a node says of itself, and whether it is there.
    if (object && previous && wordOf(object) === wordOf(previous)) return;
    addAll();
  });
  const unsubscribe = verdicts.onChange(addAll);
  return { loops: [loop], seed: addAll, stop: unsubscribe };
}

const patienceOf = (tolerance: Tolerance | undefined) =>
  tolerance ? tolerance.toleratedMs / tolerance.usualMs : 1;
const isServer = (node: Node) => node.metadata.labels?.[serverRoleLabel] !== undefined;

function wordOf({ metadata, spec }: Node): string {
  return JSON.stringify([
    metadata.annotations,
    metadata.labels?.[serverRoleLabel],
    metadata.deletionTimestamp,
    spec?.unschedulable,
  ]);
}
