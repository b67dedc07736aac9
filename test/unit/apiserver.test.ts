import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import { parse } from "yaml";
import { kinds } from "../../src/api/index.ts";
import { renderKubeconfig } from "../../src/apiserver/index.ts";
import { createKindIndex } from "../../src/apiserver/kind-index.ts";
import { negotiateDiscovery, negotiateResource } from "../../src/apiserver/negotiation.ts";
import { decodeEnvelope } from "../../src/apiserver/protobuf/envelope.ts";
import { resolveRoute, splitPath } from "../../src/apiserver/route.ts";
import { StatusError } from "../../src/apiserver/status.ts";

/* A protobuf encoder of the test's own, as the naive oracle of the decoder. */

const varint = (value: number | bigint): number[] => {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    bytes.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return bytes;
};
const bytesField = (number: number, bytes: readonly number[]) => [
  ...varint((number << 3) | 2),
  ...varint(bytes.length),
  ...bytes,
];
const textField = (number: number, text: string) => bytesField(number, [...Buffer.from(text)]);
const intField = (number: number, value: number) => [...varint(number << 3), ...varint(value)];
const mapField = (number: number, map: Record<string, string>) =>
  Object.entries(map).flatMap(([key, value]) =>
    bytesField(number, [...textField(1, key), ...textField(2, value)]),
  );
const envelope = (apiVersion: string, kind: string, raw: readonly number[]) =>
  Buffer.from([
    ...Buffer.from("k8s\0"),
    ...bytesField(1, [...textField(1, apiVersion), ...textField(2, kind)]),
    ...bytesField(2, raw),
  ]);

const key = fc.string({ minLength: 1, unit: "grapheme" }).filter((text) => text !== "__proto__");

test("B1: what was encoded is what is decoded, zeros and empty texts as Kubernetes reads them", () => {
  const map = fc.dictionary(key, fc.string({ unit: "grapheme" }));
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), map, map, (name, labels, data) => {
      const metadata = [...textField(1, name), ...textField(3, ""), ...mapField(11, labels)];
      const raw = [...bytesField(1, metadata), ...mapField(2, data)];
      const decoded = decodeEnvelope(envelope("v1", "ConfigMap", raw));
      const given = (value: object) => Object.keys(value).length > 0;
      assert.deepEqual(JSON.parse(JSON.stringify(decoded)), {
        apiVersion: "v1",
        kind: "ConfigMap",
        metadata: { name, ...(given(labels) ? { labels: { ...labels } } : {}) },
        ...(given(data) ? { data: { ...data } } : {}),
      });
    }),
    { seed: 11 },
  );
  const spec = (replicas: number[]) =>
    decodeEnvelope(envelope("apps/v1", "Deployment", bytesField(2, replicas)));
  fc.assert(
    fc.property(fc.integer(), (replicas) => {
      assert.deepEqual(spec(intField(1, replicas))["spec"], { replicas });
    }),
    { seed: 12 },
  );
  assert.equal(spec(intField(5, 0))["spec"], undefined, "minReadySeconds is no pointer");
});

test("B2: a field that the table lacks is refused when it says something", () => {
  const withStatus = (status: number[]) =>
    decodeEnvelope(envelope("apps/v1", "Deployment", bytesField(3, status)));
  assert.deepEqual(withStatus([...intField(1, 0), ...intField(2, 0)]), {
    apiVersion: "apps/v1",
    kind: "Deployment",
  });
  assert.throws(() => withStatus(intField(1, 3)), /field number 3 of Deployment/);
  assert.throws(() => decodeEnvelope(envelope("v1", "Secret", [])), /Secret is not read here/);
});

test("B3: no bytes do worse than a 400", () => {
  const kind = fc.constantFrom("Deployment", "Pod", "Service", "DeleteOptions", "Ingress", "Lease");
  fc.assert(
    fc.property(kind, fc.uint8Array({ maxLength: 64 }), (name, raw) => {
      for (const bytes of [Buffer.from(raw), envelope("v1", name, [...raw])]) {
        try {
          decodeEnvelope(bytes);
        } catch (error) {
          assert.ok(error instanceof StatusError, String(error));
          assert.equal(error.status.code, 400);
        }
      }
    }),
    { seed: 13, numRuns: 2000 },
  );
});

test("N1: the first acceptable form wins, in the client's order", () => {
  const table = "application/json;as=Table;v=v1;g=meta.k8s.io";
  const protobuf = "application/vnd.kubernetes.protobuf";
  assert.deepEqual(negotiateResource(`${table},application/json`), {
    form: "table",
    version: "v1",
  });
  assert.deepEqual(negotiateResource(`${protobuf},application/json`), { form: "object" });
  assert.deepEqual(negotiateResource(undefined), { form: "object" });
  assert.deepEqual(negotiateResource("*/*"), { form: "object" });
  assert.equal(negotiateResource(protobuf), undefined);
  const old = "application/json;as=Table;v=v1beta1;g=meta.k8s.io";
  assert.deepEqual(negotiateResource(old), { form: "table", version: "v1beta1" });
  const v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
  assert.deepEqual(negotiateDiscovery(`${v2.replace("=v2", "=v3")},${v2}`), {
    form: "aggregated",
    version: "v2",
  });
  assert.deepEqual(negotiateDiscovery("application/json"), { form: "plain" });
});

test("N2: paths lead to one kind, name and subresource, or to 404 and 405", () => {
  const index = createKindIndex(kinds);
  const route = (method: string, path: string, query = "") => {
    const parts = splitPath(path);
    assert.ok(parts, path);
    const { kind, ...rest } = resolveRoute(index, parts, method, new URLSearchParams(query));
    return JSON.parse(JSON.stringify({ kind: kind.kind, ...rest })) as unknown;
  };
  const ns = "/api/v1/namespaces";
  assert.deepEqual(route("GET", ns), { kind: "Namespace", verb: "list" });
  assert.deepEqual(route("GET", `${ns}/a`), { kind: "Namespace", verb: "get", name: "a" });
  assert.deepEqual(route("PUT", `${ns}/a/status`), {
    kind: "Namespace",
    verb: "update",
    name: "a",
    subresource: "status",
  });
  const pod = { kind: "Pod", namespace: "a" };
  assert.deepEqual(route("GET", `${ns}/a/pods`, "watch=true"), { ...pod, verb: "watch" });
  assert.deepEqual(route("POST", `${ns}/a/pods/b/eviction`), {
    ...pod,
    verb: "create",
    name: "b",
    subresource: "eviction",
  });
  assert.deepEqual(route("DELETE", `${ns}/a/pods`), { ...pod, verb: "deletecollection" });
  const refused = (method: string, path: string) => {
    try {
      return String(route(method, path));
    } catch (error) {
      assert.ok(error instanceof StatusError);
      return error.status.code;
    }
  };
  assert.equal(refused("GET", `${ns}/a/nodes`), 404);
  assert.equal(refused("POST", "/api/v1/pods"), 404);
  assert.equal(refused("GET", `${ns}/a/configmaps/b/status`), 404);
  assert.equal(refused("DELETE", `${ns}/a/pods/b/status`), 405);
  assert.equal(refused("BREW", `${ns}/a/pods`), 405);
  assert.throws(() => splitPath("/api/v1/namespaces/%zz"), /percent/);
  assert.equal(splitPath("/api/v1/namespaces/a/pods/b/log/more"), undefined);
});

test("N3: a kubeconfig holds all that kubectl needs, for one cell", () => {
  const config = parse(
    renderKubeconfig({
      cell: "cell-a",
      server: "https://192.0.2.11:7443",
      caPem: "CA",
      certPem: "CERT",
      keyPem: "KEY",
      tlsServerName: "api.cell-a.skerry",
    }),
  );
  assert.deepEqual(config.clusters[0].cluster, {
    server: "https://192.0.2.11:7443",
    "tls-server-name": "api.cell-a.skerry",
    "certificate-authority-data": Buffer.from("CA").toString("base64"),
  });
  assert.equal(config.contexts[0].context.user, config.users[0].name);
  assert.equal(config["current-context"], "cell-a");
});
