/** Tracing against a collector that speaks OTLP over HTTP with JSON. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, test } from "node:test";
import type { AddressInfo } from "node:net";
import { silentLog } from "../../src/lib/log.ts";
import {
  createTracer,
  endSpan,
  noTracer,
  parseTraceparent,
  spanOfRequest,
} from "../../src/runtime/trace/index.ts";

type SentSpan = {
  traceId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  status: { code?: number; message?: string };
  attributes: { key: string; value: Record<string, unknown> }[];
};
type Sent = {
  resourceSpans: {
    resource: { attributes: { key: string; value: { stringValue?: string } }[] };
    scopeSpans: { spans: SentSpan[] }[];
  }[];
};

async function collector() {
  const sent: { path: string | undefined; body: Sent }[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      sent.push({ path: request.url, body: JSON.parse(Buffer.concat(chunks).toString()) as Sent });
      response.setHeader("content-type", "application/json").end("{}");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  after(() => void server.close());
  return { sent, endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

const spansOf = (sent: readonly { body: Sent }[]): SentSpan[] =>
  sent
    .flatMap(({ body }) => body.resourceSpans)
    .flatMap(({ scopeSpans }) => scopeSpans)
    .flatMap((scope) => scope.spans);

const caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

test("spans reach the collector with their parent, kind, attributes and failure", async () => {
  const { sent, endpoint } = await collector();
  const tracer = await createTracer(
    { log: silentLog },
    { endpoint, service: "skerry-agent", attributes: { "skerry.node": "n1" }, share: 1 },
  );
  const span = tracer.start("GET /v1/streams", { kind: "server", parent: caller });
  span.set({ "http.response.status_code": 503 });
  assert.equal(parseTraceparent(span.traceparent)?.traceId, "4bf92f3577b34da6a3ce929d0e0e4736");
  const inner = tracer.start("commit", { kind: "internal", parent: span.traceparent });
  inner.end();
  span.end({ error: new Error("the disk is full") });
  await tracer.stop();

  assert.deepEqual([...new Set(sent.map(({ path }) => path))], ["/v1/traces"]);
  const [first] = sent[0]?.body.resourceSpans ?? [];
  const resource = Object.fromEntries(
    (first?.resource.attributes ?? []).map(({ key, value }) => [key, value.stringValue]),
  );
  assert.equal(resource["service.name"], "skerry-agent");
  assert.equal(resource["skerry.node"], "n1");
  const spans = spansOf(sent);
  const outer = spans.find(({ name }) => name === "GET /v1/streams");
  assert.equal(outer?.parentSpanId, "00f067aa0ba902b7");
  assert.equal(outer.kind, 2);
  assert.deepEqual(outer.status, { code: 2, message: "the disk is full" });
  assert.equal(outer.attributes[0]?.key, "http.response.status_code");
  const commit = spans.find(({ name }) => name === "commit");
  assert.equal(commit?.parentSpanId, parseTraceparent(span.traceparent)?.spanId);
});

test("a request's span is named by its route, follows its caller and fails with the server only", async () => {
  const { sent, endpoint } = await collector();
  const tracer = await createTracer(
    { log: silentLog },
    { endpoint, service: "skerry-agent", attributes: {}, share: 1 },
  );
  const request = {
    method: "POST",
    url: "/v1/streams/a/entries?x=1",
    headers: { traceparent: caller },
  };
  const good = spanOfRequest(tracer, request, "/v1/streams/:name/entries");
  endSpan(good, 404, { "enduser.id": "spiffe://c/app/meter" });
  endSpan(spanOfRequest(tracer, { method: "GET", url: "/api", headers: {} }), 503);
  await tracer.stop();
  const spans = spansOf(sent);
  const [posted, got] = ["POST /v1/streams/:name/entries", "GET"].map((name) =>
    spans.find((span) => span.name === name),
  );
  assert.equal(posted?.parentSpanId, "00f067aa0ba902b7");
  assert.equal(posted.status.code ?? 0, 0);
  const attributes = Object.fromEntries(posted.attributes.map(({ key, value }) => [key, value]));
  assert.deepEqual(attributes["url.path"], { stringValue: "/v1/streams/a/entries" });
  assert.deepEqual(attributes["http.response.status_code"], { intValue: 404 });
  assert.deepEqual(got?.status.code, 2);
  assert.equal(spanOfRequest(noTracer, request).traceparent, undefined);
});

test("a caller who does not sample is followed; a share of none sends nothing", async () => {
  const { sent, endpoint } = await collector();
  const options = { endpoint, service: "skerry-agent", attributes: {} };
  const all = await createTracer({ log: silentLog }, { ...options, share: 1 });
  all.start("quiet", { kind: "server", parent: `${caller.slice(0, -1)}0` }).end();
  await all.stop();
  const none = await createTracer({ log: silentLog }, { ...options, share: 0 });
  none.start("fresh", { kind: "server" }).end();
  await none.stop();
  assert.deepEqual(sent, []);
});

test("a collector that is away costs spans, not calls, and is said in the log", async () => {
  const said: string[] = [];
  const note = (message: string) => void said.push(message);
  const log = { ...silentLog, warn: note, error: note };
  const tracer = await createTracer(
    { log },
    { endpoint: "http://127.0.0.1:1", service: "skerry-agent", attributes: {}, share: 1 },
  );
  for (let call = 0; call < 5000; call++) tracer.start("call", { kind: "server" }).end();
  await tracer.stop();
  assert.ok(said.length > 0, "nothing was said");
});

test("no tracer makes nothing; a malformed traceparent is nobody's", () => {
  const span = noTracer.start("x", { kind: "server", parent: caller });
  span.set({ a: 1 });
  span.end();
  assert.equal(span.traceparent, undefined);
  const zero = "0".repeat(32);
  for (const header of [
    undefined,
    "",
    "00-xyz-1-1",
    `00-${zero}-00f067aa0ba902b7-01`,
    `ff${caller.slice(2)}`,
  ])
    assert.equal(parseTraceparent(header), undefined);
});
