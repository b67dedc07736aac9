/** Hostile requests to the cell API: what is not HTTP, compressed, or made to keep a parser busy. */
import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { connect } from "node:tls";
import { adminOf, startCell, type Client, type TestCell } from "../support/apiserver.ts";

let cell: TestCell;
let admin: Client;
before(async () => {
  cell = await startCell();
  admin = await adminOf(cell);
});
after(async () => {
  await cell[Symbol.asyncDispose]();
});

const maps = "/api/v1/namespaces/default/configmaps";
const post = (body: unknown, headers: Record<string, string>) =>
  admin.ask(maps, { method: "POST", body, headers });

test("S3: what is not HTTP, or too large to be headers, is told so in a Status", async () => {
  for (const [bytes, code] of [
    ["\u0000\u0001\u0002\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400],
    [`GET / HTTP/1.1\r\nx: ${"y".repeat(30_000)}\r\n\r\n`, 431],
  ] as const) {
    const socket = connect({ host: cell.host, port: cell.port, rejectUnauthorized: false });
    const chunks: Buffer[] = [];
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.on("error", () => {});
    socket.write(bytes, "latin1");
    await new Promise((resolve) => socket.once("close", resolve));
    const answer = Buffer.concat(chunks).toString();
    assert.ok(answer.startsWith(`HTTP/1.1 ${code} `), answer);
    const status = JSON.parse(answer.slice(answer.indexOf("\r\n\r\n"))) as Record<string, unknown>;
    assert.deepEqual([status["kind"], status["code"]], ["Status", code]);
  }
});

test("S2: a compressed body, and YAML that only a slow parser reads, are refused by their size or kind", async () => {
  const gzip = await post("{}", { "content-type": "application/json", "content-encoding": "gzip" });
  assert.deepEqual([gzip.status, gzip.json.kind], [415, "Status"]);
  const yaml = { "content-type": "application/yaml" };
  const large = await post(`a: ${"&a ".repeat(20_000)}`, yaml);
  assert.deepEqual([large.status, large.json.kind], [413, "Status"]);
  const object = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "large" },
    data: { text: "x".repeat(200_000) },
  };
  assert.equal((await post(JSON.stringify(object), yaml)).status, 201, "JSON is YAML too");
});
