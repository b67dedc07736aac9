/**
 * A whole cell's failover in virtual time: real memberships on every node over links that can be cut,
 * and on n1, the only server, the real controllers that obey its membership. A node's agent does what
 * it is told while its machine runs and reaches the server.
 */
import { eventKind, nodeKind, type Event, type Pod } from "../../src/api/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { openTestCell, type TestCell } from "./controllers-cell.ts";
import { createVirtualCell, type VirtualCell } from "./membership-cell.ts";

export type FailoverCell = AsyncDisposable & {
  readonly network: VirtualCell;
  readonly control: TestCell;
  advance(ms: number): Promise<void>;
  /** What `kubectl describe` shows of an object, once it is written. */
  events(about: string): Promise<Event[]>;
  condition(node: string, type: string): Promise<{ status: string; message: string } | undefined>;
  podsOn(node: string): Promise<Pod[]>;
};

const server = "n1";

export async function openFailoverCell(options: {
  seed: number;
  nodes: number;
}): Promise<FailoverCell> {
  const clock = createSimulatedClock();
  const network = createVirtualCell({ ...options, clock });
  const verdictListeners = new Set<(node: string) => void>();
  const reachesServer = (node: string) =>
    node === server ||
    (network.hears(server, node) && network.hears(node, server) && network.runs(server));
  const control = await openTestCell({
    seed: options.seed,
    nodes: options.nodes,
    clock,
    verdicts: {
      self: server,
      verdicts: () => network.membership(server).verdicts(),
      mayEvict: (node) => network.membership(server).mayEvict(node),
      tolerance: (node) => network.membership(server).tolerance(node),
      onChange(listener) {
        verdictListeners.add(listener);
        return () => void verdictListeners.delete(listener);
      },
    },
    acts: (node) => network.runs(node) && reachesServer(node),
  });
  network.onVerdict(({ observer, node }) => {
    if (observer === server) for (const listener of verdictListeners) listener(node);
  });
  return {
    network,
    control,
    advance: (ms) => clock.advance(ms),
    async events(about) {
      // The recorder writes twice a second.
      await clock.advance(1500);
      const { items } = await control.resources.list(eventKind);
      return items.filter(({ involvedObject }) => involvedObject.name === about);
    },
    async condition(node, type) {
      const found = await control.get(nodeKind, node);
      const condition = found?.status?.conditions?.find((one) => one.type === type);
      return condition && { status: condition.status, message: condition.message ?? "" };
    },
    podsOn: async (node) => (await control.pods()).filter(({ spec }) => spec.nodeName === node),
    async [Symbol.asyncDispose]() {
      network.stop();
      await control[Symbol.asyncDispose]();
    },
  };
}
