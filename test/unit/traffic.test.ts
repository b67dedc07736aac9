import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import * as fc from "fast-check";
import type { Endpoints, Ingress, Service } from "../../src/api/index.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { silentLog } from "../../src/lib/log.ts";
import { compile, createMatcher, type RouteTable } from "../../src/traffic/index.ts";
import { createBalancer, type BalancerOptions } from "../../src/traffic/balance.ts";
import { openKeptTable } from "../../src/traffic/kept-table.ts";
import { createRetryBudget } from "../../src/traffic/retry-budget.ts";
import { requestHeaders, responseHeaders } from "../../src/traffic/headers.ts";
import { hostName } from "../../src/traffic/routes/match.ts";
import { temporaryFolder } from "../support/data.ts";

type Path = { path: string; pathType: "Exact" | "Prefix"; service: string };

const ingressOf = (
  name: string,
  rules: { host?: string; paths: Path[] }[],
  more: object = {},
): Ingress =>
  ({
    apiVersion: "networking.k8s.io/v1",
    kind: "Ingress",
    metadata: { name, namespace: "default", creationTimestamp: "2026-01-01T00:00:00Z", ...more },
    spec: {
      rules: rules.map(({ host, paths }) => ({
        ...(host === undefined ? {} : { host }),
        http: {
          paths: paths.map(({ path, pathType, service }) => ({
            path,
            pathType,
            backend: { service: { name: service, port: { number: 80 } } },
          })),
        },
      })),
    },
  }) as Ingress;

const serviceOf = (
  name: string,
  ports: object[] = [{ port: 80, targetPort: 8080, protocol: "TCP" }],
): Service =>
  ({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default" },
    spec: { ports },
  }) as Service;

const endpointsOf = (name: string, subsets: object[]): Endpoints =>
  ({
    apiVersion: "v1",
    kind: "Endpoints",
    metadata: { name, namespace: "default" },
    subsets,
  }) as Endpoints;

const tableOf = (ingresses: Ingress[]) =>
  compile({ node: "n1", ingresses, services: [], endpoints: [], meshByNode: {} });

const routeOf = (ingresses: Ingress[], host: string, path: string) => {
  const table = tableOf(ingresses);
  const index = createMatcher(table).match(host, path);
  return index === undefined ? undefined : table.backends[index]?.name;
};

test("T1: hosts and paths match as a naive oracle says (property)", () => {
  const element = fc.constantFrom("a", "b", "ab", "");
  const path = fc.array(element, { maxLength: 4 }).map((parts) => `/${parts.join("/")}`);
  const host = fc.constantFrom(undefined, "x.org", "*.x.org", "y.x.org", "*.y.x.org");
  const rule = fc.record({
    host,
    path,
    pathType: fc.constantFrom("Exact" as const, "Prefix" as const),
  });
  const rules = fc.uniqueArray(rule, {
    maxLength: 8,
    selector: ({ host, path, pathType }) =>
      `${host} ${path.replace(/\/+$/, "") || "/"} ${pathType === "Exact" ? path : ""} ${pathType}`,
  });
  const request = fc.record({
    host: fc.constantFrom("x.org", "y.x.org", "z.y.x.org", "w.x.org", "other", ""),
    path,
  });

  type Rule = {
    host: string | undefined;
    path: string;
    pathType: "Exact" | "Prefix";
    service: string;
  };
  const hostScore = (rule: Rule, asked: string): number => {
    if (rule.host === undefined) return 1;
    if (rule.host === asked) return 1000;
    const labels = asked.split(".");
    return rule.host.startsWith("*.") &&
      labels.length > 1 &&
      rule.host.slice(2) === labels.slice(1).join(".")
      ? 10 + rule.host.length
      : 0;
  };
  const elements = (text: string) => text.replace(/\/+$/, "").split("/");
  const pathScore = (rule: Rule, asked: string): number => {
    if (rule.pathType === "Exact") return rule.path === asked ? rule.path.length * 2 + 1 : -1;
    const want = elements(rule.path);
    const got = asked.split("/");
    const prefix = rule.path.replace(/\/+$/, "") || "/";
    if (prefix === "/") return 2;
    return want.every((part, index) => part === got[index]) ? prefix.length * 2 : -1;
  };
  fc.assert(
    fc.property(rules, fc.array(request, { minLength: 1, maxLength: 10 }), (declared, requests) => {
      const all = declared.map((each, index) => ({ ...each, service: `s${index}` }));
      const ingresses = all.map(({ host, ...each }) =>
        ingressOf(each.service, [{ host, paths: [each] }]),
      );
      for (const asked of requests) {
        const best = all
          .map((each) => ({
            each,
            host: hostScore(each, asked.host),
            path: pathScore(each, asked.path),
          }))
          .filter(({ host, path }) => host > 0 && path >= 0)
          .toSorted((left, right) => right.host - left.host || right.path - left.path)[0];
        assert.equal(
          routeOf(ingresses, asked.host, asked.path),
          best && `default/${best.each.service}:80`,
          `${asked.host} ${asked.path}`,
        );
      }
    }),
    { numRuns: 500 },
  );
});

test("T1: prefixes match whole elements; ports, case and a final dot of the host do not matter", () => {
  const rules = [
    ingressOf("web", [
      { host: "Shop.Example", paths: [{ path: "/foo/", pathType: "Prefix", service: "foo" }] },
    ]),
  ];
  assert.equal(routeOf(rules, "shop.example:8080", "/foo"), "default/foo:80");
  assert.equal(routeOf(rules, "SHOP.example.", "/foo/bar"), "default/foo:80");
  assert.equal(routeOf(rules, "shop.example", "/foobar"), undefined);
  assert.equal(hostName("[::1]:8080"), "[::1]");
});

test("T1: of two Ingresses that claim the same path the older one keeps it, in whatever order they come", () => {
  const claim = (service: string): { paths: Path[] }[] => [
    { paths: [{ path: "/", pathType: "Prefix", service }] },
  ];
  const older = ingressOf("b", claim("older"), { creationTimestamp: "2026-01-01T00:00:00Z" });
  const younger = ingressOf("a", claim("younger"), { creationTimestamp: "2026-01-02T00:00:00Z" });
  assert.equal(routeOf([older, younger], "any", "/x"), "default/older:80");
  assert.equal(routeOf([younger, older], "any", "/x"), "default/older:80");
});

test("a default backend takes what no rule takes", () => {
  const ingress = ingressOf("web", []);
  ingress.spec.defaultBackend = { service: { name: "rest", port: { name: "http" } } };
  assert.equal(routeOf([ingress], "any", "/x"), "default/rest:http");
});

test("T2: only ready TCP endpoints of the named port are routed to; this node serves its own, unready ones too", () => {
  const ports = [
    { name: "http", port: 80, targetPort: 8080, protocol: "TCP" },
    { name: "admin", port: 81, targetPort: 9090, protocol: "TCP" },
  ];
  const subset = {
    addresses: [
      { ip: "127.0.0.12", nodeName: "n2" },
      { ip: "127.0.0.11", nodeName: "n1" },
    ],
    notReadyAddresses: [{ ip: "127.0.0.99", nodeName: "n1" }],
    ports: [
      { name: "http", port: 8080, protocol: "TCP" },
      { name: "admin", port: 9090, protocol: "TCP" },
    ],
  };
  const table = compile({
    node: "n1",
    ingresses: [
      ingressOf("web", [
        {
          paths: [
            { path: "/", pathType: "Prefix", service: "web" },
            { path: "/gone", pathType: "Exact", service: "gone" },
          ],
        },
      ]),
    ],
    services: [serviceOf("web", ports)],
    endpoints: [endpointsOf("web", [subset])],
    meshByNode: { n1: { host: "127.0.0.11", port: 1 }, n2: { host: "127.0.0.12", port: 2 } },
  });
  assert.deepEqual(Object.fromEntries(table.backends.map((each) => [each.name, each.endpoints])), {
    "default/gone:80": [],
    "default/web:80": [
      { node: "n1", ip: "127.0.0.11", port: 8080 },
      { node: "n2", ip: "127.0.0.12", port: 8080 },
    ],
  });
  assert.deepEqual(table.served, [
    "127.0.0.11:8080",
    "127.0.0.11:9090",
    "127.0.0.99:8080",
    "127.0.0.99:9090",
  ]);
  assert.deepEqual(table.meshByNode, { n2: { host: "127.0.0.12", port: 2 } });
});

const a = { node: "n1", ip: "10.0.0.1", port: 1 };
const b = { node: "n2", ip: "10.0.0.2", port: 1 };
const c = { node: "n3", ip: "10.0.0.3", port: 1 };
const none = () => false;

const balancerOf = (clock: SimulatedClock, node: string, more: Partial<BalancerOptions> = {}) =>
  createBalancer({ clock, random: seededRandom(1) }, { node, ...more });

test("T4: least requests under way first, this node among equals, the others in turn", () => {
  const balancer = balancerOf(createSimulatedClock(), "n1");
  assert.equal(balancer.pick([a, b, c], none), a);
  const turn = balancer.begin(a);
  const picked = new Set([balancer.pick([a, b, c], none), balancer.pick([a, b, c], none)]);
  assert.deepEqual(picked, new Set([b, c]));
  turn.end();
  turn.end();
  assert.equal(balancer.pick([a, b, c], none), a);
  assert.equal(balancer.pick([], none), undefined);
});

test("T4: what cannot be reached is ejected at once, longer each time; what breaks, after three in a row", async () => {
  const clock = createSimulatedClock();
  const ejected: string[] = [];
  const balancer = balancerOf(clock, "n9", {
    health: { ejectMs: 100, ejectMsMax: 400, slowStartMs: 50 },
    onEjected: ({ node }) => void ejected.push(node),
  });
  const leftOut = () => !balancer.hasGood([a], none);
  balancer.begin(a).failed("unreachable");
  assert.ok(leftOut());
  for (const lastsMs of [100, 200, 400, 400]) {
    assert.ok(leftOut());
    // Others that were under way tell nothing new.
    balancer.begin(a).failed("unreachable");
    await clock.advance(lastsMs - 1);
    assert.ok(leftOut());
    await clock.advance(1);
    assert.ok(!leftOut());
    balancer.begin(a).failed("unreachable");
  }
  assert.equal(ejected.length, 5);
  for (const expected of [true, true, false]) {
    balancer.begin(b).failed("broken");
    assert.equal(balancer.hasGood([b], none), expected);
  }
  for (let i = 0; i < 5; i++) {
    balancer.begin(c).failed("broken");
    balancer.begin(c).succeeded();
  }
  assert.ok(balancer.hasGood([c], none), "broken now and then is not broken in a row");
});

test("T4: when everything looks bad everything is tried, silent nodes last, and an answer ends the ejection", () => {
  let panics = 0;
  const balancer = balancerOf(createSimulatedClock(), "n9", { onPanic: () => panics++ });
  balancer.setSilent("n1", true);
  assert.equal(balancer.pick([a, b], none), b);
  const before = balancer.begin(b);
  balancer.begin(b).failed("unreachable");
  assert.equal(panics, 0);
  assert.equal(balancer.pick([a, b], none), b);
  assert.equal(balancer.pick([a], none), a);
  assert.equal(panics, 2);
  before.succeeded();
  assert.ok(!balancer.hasGood([b], none), "an answer from before the ejection proves nothing");
  balancer.begin(b).succeeded();
  assert.ok(balancer.hasGood([b], none));
  balancer.retain([a, b]);
  balancer.setSilent("n1", false);
  assert.ok(balancer.hasGood([a], none));
});

test("T4: what returns gets its share little by little", async () => {
  const clock = createSimulatedClock();
  const balancer = balancerOf(clock, "n9", { health: { ejectMs: 100, slowStartMs: 1000 } });
  const failed = balancer.begin(a);
  failed.failed("unreachable");
  failed.end();
  await clock.advance(100);
  const share = () => {
    let picked = 0;
    for (let i = 0; i < 1000; i++) if (balancer.pick([a, b], none) === a) picked++;
    return picked / 1000;
  };
  const shares: number[] = [];
  for (let step = 0; step < 4; step++) {
    shares.push(share());
    await clock.advance(333);
  }
  const [first = 1, second = 1, third = 1, last = 0] = shares;
  assert.ok(first < 0.1 && first < second && second < third && third < last, String(shares));
  assert.ok(Math.abs(last - 0.5) < 0.01, String(shares));
  balancer.begin(b).failed("unreachable");
  assert.equal(balancer.pick([b, c], none), c);
  balancer.retain([a, b]);
  balancer.retain([a, b, c]);
  assert.equal(balancer.pick([c], none), c, "alone it gets all");
});

test("T11: retries stay within a share of the requests of the last seconds and a floor (property)", async () => {
  const step = fc.record({
    waitMs: fc.constantFrom(0, 1, 40, 100, 333, 1000, 2500),
    requests: fc.nat(30),
    retries: fc.nat(30),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const clock = createSimulatedClock();
      const budget = createRetryBudget({ clock }, { share: 0.2, floor: 5, windowMs: 1000 });
      const requestSlots: number[] = [];
      const retrySlots: number[] = [];
      for (const { waitMs, requests, retries } of steps) {
        await clock.advance(waitMs);
        const slot = Math.floor(clock.monotonicMs() / 100);
        const recent = (slots: number[]) => slots.filter((each) => each > slot - 10).length;
        for (let i = 0; i < requests; i++) {
          budget.request();
          requestSlots.push(slot);
        }
        for (let i = 0; i < retries; i++) {
          const allowed = recent(retrySlots) + 1 <= recent(requestSlots) * 0.2 + 5;
          assert.equal(budget.hasLeft, allowed);
          assert.equal(budget.take(), allowed);
          if (allowed) retrySlots.push(slot);
        }
      }
    }),
    { numRuns: 200 },
  );
});

test("T3: headers of the connection stay, the client's x-forwarded and ours do not get in", () => {
  const raw = [
    "Host",
    "x",
    "Connection",
    "keep-alive, X-Secret",
    "X-Secret",
    "1",
    "Transfer-Encoding",
    "chunked",
    "X-Forwarded-For",
    "6.6.6.6",
    "Skerry-Endpoint",
    "10.0.0.1:22",
    "Cookie",
    "a=b",
    "Expect",
    "100-continue",
    "Te",
    "trailers",
  ];
  assert.deepEqual(requestHeaders(raw, { at: "ingress", remoteAddress: "1.2.3.4", host: "x" }), [
    "Host",
    "x",
    "Cookie",
    "a=b",
    "x-forwarded-for",
    "1.2.3.4",
    "x-forwarded-proto",
    "http",
    "x-forwarded-host",
    "x",
  ]);
  assert.deepEqual(
    requestHeaders(["X-Forwarded-For", "1.2.3.4", "Skerry-Endpoint", "e"], { at: "mesh" }),
    ["X-Forwarded-For", "1.2.3.4"],
  );
  assert.deepEqual(
    responseHeaders({
      connection: "x-hop",
      "x-hop": "1",
      "set-cookie": ["a", "b"],
      "skerry-mesh-error": "not-sent",
      "content-length": "3",
    }),
    { "set-cookie": ["a", "b"], "content-length": "3" },
  );
});

test("T15: of the tables that are kept the last one is read again, also after the same one twice", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "routes.json");
  const kept = openKeptTable({ log: silentLog }, { path, node: "n1" });
  const table = (hosts: RouteTable["hosts"]): RouteTable => ({
    node: "n1",
    hosts,
    defaultBackend: undefined,
    backends: [],
    served: [],
    meshByNode: {},
  });
  const other = [{ host: "shop.example", paths: [] }];
  for (const hosts of [[], [], other]) {
    kept.keep(table(hosts));
    await kept.settled();
  }
  assert.deepEqual(kept.read()?.hosts, other);
  for (const hosts of [[], other, []]) kept.keep(table(hosts));
  await kept.settled();
  assert.deepEqual(kept.read()?.hosts, []);
});
