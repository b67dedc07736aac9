/** A node's half of a cell address: where it goes, how long it is held, in virtual time. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { Node, NodeVerdict } from "../../src/api/index.ts";
import { serverRoleLabel } from "../../src/api/index.ts";
import { mayStay } from "../../src/agent/paths/address-path.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import {
  cellAddressLeaseMs,
  parseInterfaces,
  placesOf,
  startCellAddresses,
  type CellAddresses,
  type HostNetwork,
  type Interface,
} from "../../src/traffic/address/index.ts";

const eth0: Interface = {
  name: "eth0",
  up: true,
  loopback: false,
  mac: "02:00:00:00:00:01",
  addresses: [
    { address: "192.0.2.11", prefix: 24 },
    { address: "2001:db8::11", prefix: 64 },
  ],
};
const lo: Interface = {
  name: "lo",
  up: true,
  loopback: true,
  mac: "00:00:00:00:00:00",
  addresses: [{ address: "127.0.0.1", prefix: 8 }],
};

test("AD5, AD6: an address goes to the interface of its network, alone; and what keeps it away has words", () => {
  const place = (addresses: string[], interfaces = [lo, eth0], name?: string) => {
    const placed = placesOf(interfaces, { addresses, interface: name });
    return placed.ok
      ? placed.places.map((one) => `${one.address}/${one.prefix} ${one.interface}`)
      : placed.because;
  };
  assert.deepEqual(place(["192.0.2.50/24", "2001:db8::50/64"]), [
    "192.0.2.50/32 eth0",
    "2001:db8::50/128 eth0",
  ]);
  assert.deepEqual(place(["2001:DB8:0:0::50/64"]), ["2001:db8::50/128 eth0"]);
  assert.deepEqual(place(["198.51.100.50/24"], [lo, eth0], "eth0"), ["198.51.100.50/24 eth0"]);
  assert.match(String(place(["198.51.100.50/24"])), /no interface of it has an address/);
  assert.match(String(place(["192.0.2.50/24"], [lo, eth0], "eth7")), /no interface eth7/);
  assert.match(String(place(["192.0.2.50/24"], [lo, { ...eth0, up: false }])), /no signal/);
  assert.match(String(place(["192.0.2.11/24"])), /no interface|configured on its eth0 for good/);
  const fixed = [...eth0.addresses, { address: "192.0.2.50", prefix: 32 }];
  assert.match(String(place(["192.0.2.50/24"], [{ ...eth0, addresses: fixed }])), /for good/);
  const ours = [...eth0.addresses, { address: "192.0.2.50", prefix: 32, leftSeconds: 4 }];
  assert.deepEqual(place(["192.0.2.50/24"], [{ ...eth0, addresses: ours }]), [
    "192.0.2.50/32 eth0",
  ]);
});

test("what ip says of interfaces is read: signal, and how long an address stays", () => {
  const said = JSON.stringify([
    {
      ifname: "eth0",
      flags: ["BROADCAST", "UP", "LOWER_UP"],
      address: "02:00:00:00:00:01",
      addr_info: [
        { family: "inet", local: "192.0.2.11", prefixlen: 24, valid_life_time: 4294967295 },
        { family: "inet", local: "192.0.2.50", prefixlen: 32, valid_life_time: 4 },
      ],
    },
    { ifname: "eth1", flags: ["NO-CARRIER", "BROADCAST", "UP"], address: "02:00:00:00:00:02" },
  ]);
  const [first, second] = parseInterfaces(said);
  assert.deepEqual(first?.addresses, [
    { address: "192.0.2.11", prefix: 24 },
    { address: "192.0.2.50", prefix: 32, leftSeconds: 4 },
  ]);
  assert.equal(first?.up, true);
  assert.equal(second?.up, false);
});

function openNode() {
  const clock = createSimulatedClock();
  /** When the kernel takes each address away. */
  const untilMsByAddress = new Map<string, number>();
  let announcements = 0;
  let frozenMs = 0;
  const given: string[] = [];
  const network: HostNetwork = {
    whyNot: async () => node.problem,
    interfaces: async () => [
      {
        ...eth0,
        up: node.hasSignal,
        addresses: [
          ...eth0.addresses,
          ...[...untilMsByAddress]
            .filter(([, untilMs]) => untilMs > clock.monotonicMs())
            .map(([address, untilMs]) => ({
              address,
              prefix: 32,
              leftSeconds: Math.ceil((untilMs - clock.monotonicMs()) / 1000),
            })),
        ],
      },
    ],
    async give({ address }, forMs) {
      assert.ok(forMs > 0);
      given.push(address);
      frozenMs += node.freezesMs;
      untilMsByAddress.set(address, clock.monotonicMs() + forMs);
    },
    async take({ address }) {
      untilMsByAddress.delete(address);
    },
    async announce() {
      announcements++;
    },
    // As arping does, it listens until somebody answers, or for a second.
    others: () =>
      node.others.length > 0 || !node.silent
        ? Promise.resolve(node.others)
        : new Promise((resolve) => {
            const end = () => resolve(node.others);
            node.look = end;
            clock.after(1000, end);
          }),
  };
  const node = {
    clock,
    network,
    /** What the ledger says; undefined: nobody answers. */
    ledger: { holder: "n1" } as { holder: string } | undefined,
    mayStay: false,
    silent: false,
    hasSignal: true,
    problem: undefined as string | undefined,
    others: [] as string[],
    look: () => {},
    open: new Set<string>(),
    given,
    /** The machine stands still for so long while an address is given. */
    freezesMs: 0,
    told: [] as (string | null)[],
    get announcements() {
      return announcements;
    },
    /** As the kernel answers. */
    answers: () => (untilMsByAddress.get("192.0.2.50") ?? 0) > clock.monotonicMs(),
    /** Waits in virtual time for whoever waits. */
    stop: (part: CellAddresses) => Promise.all([part.stop(), clock.advance(5000)]),
    onTold: (_word: string | null) => {},
    start: () =>
      startCellAddresses(
        {
          clock,
          bootTimeMs: () => clock.monotonicMs() + frozenMs,
          log: silentLog,
          metrics: createMetrics(),
          network,
          ports: {
            node: "n1",
            services: [
              {
                name: "ingress",
                async listen(host) {
                  node.open.add(host);
                  return {
                    close() {
                      node.open.delete(host);
                      throw new Error("it is being started again");
                    },
                  };
                },
              },
            ],
            async ask() {
              if (node.ledger) return node.ledger;
              // A cut link tells nothing: a question on its way there waits for its whole time.
              if (node.silent) return await new Promise<never>(() => {});
              throw new Error("no server answers");
            },
            mayStay: () => node.mayStay,
            async tell(words) {
              for (const word of Object.values(words)) {
                node.told.push(word);
                node.onTold(word);
              }
            },
            notReady: () => undefined,
            hasOthers: () => true,
          },
        },
        { canHold: "ready" },
      ),
  };
  return node;
}
const wish = (holder?: string) => ({ name: "cell", addresses: ["192.0.2.50/24"], holder });

test("AD1, AD3, AD7: held while the ledger names this node, announced, and gone with the first other word", async () => {
  const node = openNode();
  const part = node.start();
  part.follow([wish("n2")]);
  await node.clock.advance(3000);
  assert.deepEqual([node.answers(), node.told], [false, ["ready"]]);
  part.follow([wish("n1")]);
  await node.clock.advance(25_000);
  assert.ok(node.answers());
  assert.deepEqual([...node.open], ["192.0.2.50"]);
  assert.equal(node.announcements, 9);
  node.others = ["02:00:00:00:00:02"];
  await node.clock.advance(11_000);
  assert.ok(node.announcements >= 11);
  // The mirror lags; the ledger knows better.
  node.ledger = { holder: "n2" };
  await node.clock.advance(1100);
  assert.deepEqual([node.answers(), node.open.size, part.held], [false, 0, []]);
  await node.stop(part);
  assert.equal(node.clock.pending, 0);
});

test("AD1, AD2: without an answer it ends with the lease, counted from the last question that was answered", async () => {
  const node = openNode();
  const part = node.start();
  part.follow([wish("n1")]);
  await node.clock.advance(10_000);
  node.ledger = undefined;
  await node.clock.advance(cellAddressLeaseMs - 1100);
  assert.ok(node.answers());
  await node.clock.advance(1200);
  assert.deepEqual([node.answers(), part.held, node.open.size], [false, [], 0]);
  await node.clock.advance(60_000);
  assert.equal(node.answers(), false);
  node.ledger = { holder: "n1" };
  await node.clock.advance(1100);
  assert.ok(node.answers());
  await node.stop(part);
});

test("AD1: a machine that stood still while it took an address over gives up what it has of it", async () => {
  const node = openNode();
  const part = node.start();
  node.freezesMs = cellAddressLeaseMs;
  part.follow([{ ...wish("n1"), addresses: ["192.0.2.50/24", "192.0.2.51/24"] }]);
  await node.clock.advance(100);
  assert.deepEqual([node.given, node.answers(), part.held], [["192.0.2.50"], false, []]);
  await node.stop(part);
});

test("AD1: a holder that stood still while it extended its lease takes the address away and announces nothing", async () => {
  const node = openNode();
  const part = node.start();
  part.follow([wish("n1")]);
  await node.clock.advance(5000);
  const { announcements } = node;
  assert.ok(node.answers());
  node.freezesMs = 2 * cellAddressLeaseMs;
  await node.clock.advance(1000);
  assert.deepEqual([node.answers(), part.held, node.announcements], [false, [], announcements]);
  await node.stop(part);
});

test("AD4: with the larger part of a cell whose only server is lost it stays", async () => {
  const node = openNode();
  const part = node.start();
  part.follow([wish("n1")]);
  await node.clock.advance(5000);
  node.ledger = undefined;
  node.mayStay = true;
  for (let second = 0; second < 60; second++) {
    await node.clock.advance(1000);
    assert.ok(node.answers(), `after ${second} s`);
  }
  node.mayStay = false;
  await node.clock.advance(cellAddressLeaseMs + 1000);
  assert.equal(node.answers(), false);
  await node.stop(part);

  const machine = (name: string, server = false): Node => ({
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, labels: server ? { [serverRoleLabel]: "" } : {} },
  });
  const nodes = [machine("n1", true), machine("n2"), machine("n3")];
  const lost: NodeVerdict = { state: "unreachable", forMs: 2000, witnesses: [] };
  const seen = (n3: NodeVerdict) =>
    new Map<string, NodeVerdict>([
      ["n1", lost],
      ["n3", n3],
    ]);
  assert.equal(mayStay("n2", nodes, seen({ state: "alive" })), true);
  assert.equal(mayStay("n2", nodes, seen(lost)), false);
  const back = new Map(["n1", "n3"].map((name) => [name, { state: "alive" } as const]));
  assert.equal(mayStay("n2", nodes, back), false);
  assert.equal(mayStay("n2", nodes.slice(0, 2), seen(lost)), false);
  const servers = nodes.map(({ metadata }) => machine(metadata.name, true));
  assert.equal(mayStay("n2", servers, seen({ state: "alive" })), false);
});

test("AD7: a holder that cannot ask and sees another answer does not insist", async () => {
  const node = openNode();
  const part = node.start();
  part.follow([wish("n1")]);
  await node.clock.advance(3000);
  node.ledger = undefined;
  node.mayStay = true;
  await node.clock.advance(10_000);
  assert.ok(node.answers());
  node.others = ["02:00:00:00:00:02"];
  await node.clock.advance(12_000);
  assert.equal(node.answers(), false);
  await node.stop(part);
});

test("AD7: a holder whose question is on its way to nobody yields at once to another that answers", async () => {
  const node = openNode();
  const part = node.start();
  part.follow([wish("n1")]);
  await node.clock.advance(15_000);
  node.ledger = undefined;
  node.silent = true;
  // The first question without an answer is over after 2.5 s, and the second is under way.
  await node.clock.advance(4000);
  assert.ok(node.answers());
  node.others = ["02:00:00:00:00:02"];
  node.look();
  await node.clock.advance(400);
  assert.equal(node.answers(), false);
  await node.stop(part);
});

test("AD9: a holder without a signal gives it up when nobody answers, and is asked no later than a server is heard", async () => {
  const node = openNode();
  const part = node.start();
  part.follow([wish("n1")]);
  await node.clock.advance(10_000);
  node.hasSignal = false;
  node.ledger = undefined;
  await node.clock.advance(1100);
  assert.equal(node.answers(), false);
  assert.deepEqual([...node.open], []);
  // Its word has not changed, so it is taken again as soon as that can be known.
  node.hasSignal = true;
  node.ledger = { holder: "n1" };
  part.recheck();
  await node.clock.advance(0);
  assert.ok(node.answers());
  await node.stop(part);
});

test("AD4, AD9: with the only server away already, a cable that was loose for a moment costs nothing", async () => {
  const node = openNode();
  const part = node.start();
  part.follow([wish("n1")]);
  await node.clock.advance(3000);
  node.ledger = undefined;
  node.mayStay = true;
  await node.clock.advance(20_000);
  node.hasSignal = false;
  await node.clock.advance(1100);
  node.hasSignal = true;
  await node.clock.advance(20_000);
  assert.ok(node.answers());
  await node.stop(part);
});

test("AD2: an agent that starts again goes on with what it held, and ends what it holds no more", async () => {
  const node = openNode();
  const start = (holder: string) => {
    node.ledger = { holder };
    return node.start();
  };
  await node.network.give({ ...eth0, address: "192.0.2.50", prefix: 32, interface: "eth0" }, 4000);
  const first = start("n1");
  first.follow([wish("n1")]);
  await node.clock.advance(8000);
  assert.ok(node.answers());
  await node.stop(first);
  await node.network.give({ ...eth0, address: "192.0.2.50", prefix: 32, interface: "eth0" }, 4000);
  const second = start("n2");
  second.follow([wish("n2")]);
  await node.clock.advance(100);
  assert.equal(node.answers(), false);
  await node.stop(second);
});

test("AD6: without the right to configure networks it holds nothing, and the cell is told why", async () => {
  const node = openNode();
  node.problem = "run it as root";
  const part = node.start();
  part.follow([wish("n1")]);
  await node.clock.advance(10_000);
  assert.deepEqual([node.answers(), node.told], [false, ["run it as root"]]);
  node.problem = undefined;
  await node.clock.advance(2000);
  assert.deepEqual([node.answers(), node.told.at(-1)], [true, "ready"]);
  part.follow([]);
  await node.clock.advance(100);
  assert.deepEqual([node.answers(), node.told.at(-1)], [false, null]);
  await node.stop(part);
});

test("AD8: a node that stops lets another be named before it gives the address up", async () => {
  const node = openNode();
  const part = node.start();
  part.follow([wish("n1")]);
  await node.clock.advance(3000);
  node.onTold = (word) => {
    if (word === "its agent is stopping") node.clock.after(300, () => part.follow([wish("n2")]));
  };
  let stopped = false;
  const stopping = part.stop().then(() => (stopped = true));
  await node.clock.advance(200);
  assert.deepEqual([node.answers(), stopped], [true, false]);
  await node.clock.advance(200);
  await stopping;
  assert.equal(node.answers(), false);
});
