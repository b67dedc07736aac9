/** All CellAddresses on this node: one tenant each, stepped every second and when something changed. */
import { every, type Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Metrics } from "../../runtime/metrics/index.ts";
import type { HostNetwork } from "./host-network.ts";
import type { AddressPorts, AddressWish } from "./ports.ts";
import { createTenant, tickMs, type Tenant } from "./tenant.ts";

export interface CellAddresses {
  /** The mirror's list, now and after each change. */
  follow(wishes: readonly AddressWish[]): void;
  /** Servers are heard again, or no more: whose they are is asked now, not at the next second. */
  recheck(): void;
  /** Names of those held here. */
  readonly held: readonly string[];
  /** Hands over what is held, for a moment, then gives it up. */
  stop(): Promise<void>;
}

/** How long a stopping holder waits for another to be named. */
const handOverMs = 2000;
const handOverPollMs = 20;

export function startCellAddresses(
  deps: {
    clock: Clock;
    /** Does not stop in a suspend. */
    bootTimeMs: () => number;
    log: Log;
    metrics: Metrics;
    network: HostNetwork;
    ports: AddressPorts;
  },
  options: {
    /** What a node says that could hold it. */
    canHold: string;
  },
): CellAddresses {
  const { clock, ports, metrics } = deps;
  const log = deps.log.child({ room: "address" });
  const tenants = new Map<string, Tenant>();
  const conflicts = metrics.counter(
    "skerry_cell_address_conflicts_total",
    "Times that another machine was seen to answer for an address held here",
  );
  const heldGauge = metrics.gauge(
    "skerry_cell_address_held",
    "1 while this node holds the cell address",
    ["address"],
  );
  metrics.beforeRender(() => {
    for (const [address, tenant] of tenants) heldGauge.set({ address }, tenant.held ? 1 : 0);
  });

  let running: Promise<void> | undefined;
  let waiting = false;
  let isStopping = false;

  const stepAll = async (tick: boolean) => {
    for (const [name, tenant] of tenants) {
      try {
        await tenant.step({ tick });
        if (!tenant.wish && !tenant.held) {
          tenants.delete(name);
          heldGauge.remove({ address: name });
          await ports.tell({ [name]: null });
        }
      } catch (error) {
        log.warn("a cell address could not be seen to; it is tried again", { name, error });
      }
    }
  };
  /** One at a time; what comes meanwhile is looked at once more. */
  const kick = (tick: boolean): Promise<void> => {
    if (running) {
      waiting ||= !tick;
      return running;
    }
    running = stepAll(tick).finally(() => {
      running = undefined;
      if (!waiting) return;
      waiting = false;
      if (!isStopping) void kick(false);
    });
    return running;
  };
  const timer = every(
    clock,
    tickMs,
    () => kick(true),
    (error) => log.error("cell addresses could not be seen to", { error }),
  );

  const handOver = async () => {
    const held = [...tenants].filter(([, tenant]) => tenant.held);
    if (held.length === 0 || !ports.hasOthers()) return;
    const isMine = ([, tenant]: (typeof held)[number]) => tenant.wish?.holder === ports.node;
    const untilMs = clock.monotonicMs() + handOverMs;
    const telling = ports
      .tell(Object.fromEntries(held.map(([name]) => [name, "its agent is stopping"])))
      .then(() => true);
    const told = await Promise.race([telling, clock.sleep(handOverMs).then(() => false)]);
    if (!told) return;
    while (held.some(isMine) && clock.monotonicMs() < untilMs) await clock.sleep(handOverPollMs);
  };

  return {
    follow(wishes) {
      const byName = new Map(wishes.map((wish) => [wish.name, wish]));
      for (const name of byName.keys()) {
        if (tenants.has(name)) continue;
        const onConflict = () => {
          conflicts.inc();
          if (!isStopping) void kick(false);
        };
        const more = { ...deps, log, canHold: options.canHold, onConflict };
        tenants.set(name, createTenant(more, name));
      }
      for (const [name, tenant] of tenants) tenant.wish = byName.get(name);
      if (!isStopping) void kick(false);
    },
    recheck() {
      if (!isStopping) void kick(false);
    },
    get held() {
      return [...tenants].flatMap(([name, tenant]) => (tenant.held ? [name] : []));
    },
    async stop() {
      isStopping = true;
      timer.cancel();
      await running;
      await handOver().catch((error: unknown) =>
        log.info("the cell was not told that this node stops", { error }),
      );
      for (const tenant of tenants.values())
        await tenant
          .release("its agent stops")
          .catch((error: unknown) =>
            log.warn("an address was not taken away; the kernel does so in seconds", { error }),
          );
    },
  };
}
