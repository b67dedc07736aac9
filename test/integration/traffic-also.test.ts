/** The ingress at a second address of its machine: an address of the cell comes and goes. */
import { strict as assert } from "node:assert";
import { once } from "node:events";
import { connect } from "node:net";
import { after, test } from "node:test";
import { startNodes, startPod, type TestNode } from "../support/traffic.ts";
import { waitFor } from "../support/wait.ts";

const nodes = await startNodes(["n62"], { heapMbMax: 48 });
after(() => nodes.stop());
const [node] = nodes.nodes as [TestNode];
const host = "127.0.49.62";
const timeoutMs = 40_000;
const port = node.traffic.ingressPort ?? 0;

test("T9: a second address serves as the first does, and its going cuts nobody at the first", async (t) => {
  const pod = await startPod(t, "n62", (_request, response) => response.end("hello"));
  await nodes.route([pod]);
  const url = `http://${host}:${port}/`;
  await assert.rejects(fetch(url));
  const close = await node.traffic.listenAlso(host);
  assert.equal(await (await fetch(url)).text(), "hello");
  await assert.rejects(node.traffic.listenAlso("192.0.2.1"), { code: "cannot-listen" });
  assert.equal(await (await fetch(url)).text(), "hello");

  const stays = connect(port, new URL(node.url).hostname);
  const goes = connect(port, host);
  await Promise.all([once(stays, "connect"), once(goes, "connect")]);
  goes.on("error", () => undefined);
  const gone = once(goes, "close");
  await close();
  await gone;
  await assert.rejects(fetch(url));
  stays.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  const [answer] = (await once(stays, "data")) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1\.1 200/);
  stays.destroy();
});

test("T10: a proxy thread that ends is started again on every address", async (t) => {
  const pod = await startPod(t, "n62", (_request, response) => response.end("hello"));
  await node.traffic.listenAlso(host);
  const base = { node: "n62", hosts: [], defaultBackend: undefined, backends: [], meshByNode: {} };
  // More than its heap takes.
  const served = Array.from({ length: 1_500_000 }, (_, index) => `10.0.0.1:${index}`);
  const overfull = node.traffic.setTable({ ...base, served });
  await overfull;
  await nodes.route([pod]);
  await waitFor(() => node.traffic.restarts > 0, {
    what: "the thread to be started again",
    timeoutMs,
  });
  await waitFor(async () => (await fetch(`http://${host}:${port}/`)).status === 200, {
    what: "the ingress to be back at its second address",
    timeoutMs,
  });
});
