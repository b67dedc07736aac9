import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import type { Endpoints, Ingress, Service } from "../../src/api/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { compile, createMatcher } from "../../src/traffic/index.ts";
import { createBalancer } from "../../src/traffic/balance.ts";
import { requestHeaders, responseHeaders } from "../../src/traffic/headers.ts";
import { hostName } from "../../src/traffic/routes/match.ts";

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

test("T4: least requests under way first, this node among equals, the others in turn", () => {
  const balancer = createBalancer({ clock: createSimulatedClock() }, { node: "n1" });
  assert.equal(balancer.pick([a, b, c], none), a);
  const done = balancer.begin(a);
  const picked = new Set([balancer.pick([a, b, c], none), balancer.pick([a, b, c], none)]);
  assert.deepEqual(picked, new Set([b, c]));
  done();
  assert.equal(balancer.pick([a, b, c], none), a);
  assert.equal(balancer.pick([], none), undefined);
});

test("T4: what failed is left alone for a moment, longer each time; when all failed all are tried", async () => {
  const clock = createSimulatedClock();
  const balancer = createBalancer({ clock }, { node: "n9", avoidMs: 100, avoidMsMax: 400 });
  balancer.failed(a, "endpoint");
  assert.equal(balancer.pick([a, b], none), b);
  balancer.failed(b, "node");
  assert.ok(balancer.pick([a, b], none), "panic");
  assert.equal(balancer.pick([b, { ...b, port: 2 }, c], none), c, "the whole node is blamed");
  await clock.advance(150);
  balancer.failed(a, "endpoint");
  await clock.advance(150);
  assert.equal(balancer.pick([a, c], none), c, "the second time lasts longer");
  balancer.succeeded(a);
  const picked = new Set([balancer.pick([a, c], none), balancer.pick([a, c], none)]);
  assert.deepEqual(picked, new Set([a, c]));
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
