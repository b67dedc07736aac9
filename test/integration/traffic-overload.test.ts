import { strict as assert } from "node:assert";
import { request } from "node:http";
import { test, type TestContext } from "node:test";
import { startRemote } from "../support/traffic-remote.ts";
import { startPod } from "../support/traffic.ts";
import { testCell } from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

const timeoutMs = 40_000;
const patienceMs = 2_000;
const periodMs = 20;

/** Clients that come whether others were answered or not, each with a connection of its own. */
function openLoop(t: TestContext, at: { host: string; port: number }) {
  let asked = 0;
  /** Paths of requests that were sent whole and given up. */
  const gone = new Set<string>();
  const answered = new Set<string>();
  const ask = () => {
    const path = `/${asked++}`;
    let begun = false;
    const asking = request({ ...at, path, agent: false, timeout: patienceMs }, (response) => {
      begun = true;
      response.resume().once("end", () => {
        if (response.statusCode === 200) answered.add(path);
      });
    });
    asking.once("timeout", () => asking.destroy());
    asking.once("error", () => {});
    asking.once("close", () => {
      if (asking.writableFinished && !begun) gone.add(path);
    });
    asking.end();
  };
  const timer = setInterval(ask, periodMs);
  const stop = () => clearInterval(timer);
  t.after(stop);
  return { gone, answered, stop };
}

test("T14: an ingress that stood still answers the living, and asks no pod for those who have gone", async (t) => {
  const cell = await testCell();
  const paths = new Set<string>();
  const pod = await startPod(t, "n1", (incoming, response) => {
    paths.add(incoming.url ?? "");
    response.end("here");
  });
  const { node, ip, port } = pod;
  const n1 = await startRemote(t, cell, "n1", {
    node,
    hosts: [{ host: "", paths: [{ path: "/", type: "Prefix", backend: 0 }] }],
    defaultBackend: undefined,
    backends: [{ name: "default/web:80", endpoints: [{ node, ip, port }] }],
    served: [`${ip}:${port}`],
    meshByNode: {},
  });

  n1.stop();
  await waitFor(() => n1.isStopped(), { what: "n1 to stand still", timeoutMs });
  const load = openLoop(t, { host: ip, port: n1.ingressPort });
  await waitFor(() => load.gone.size >= 50, { what: "clients to give up", timeoutMs });
  assert.equal(load.answered.size, 0);

  const gone = new Set(load.gone);
  n1.goOn();
  await waitFor(() => load.answered.size >= 20, { what: "answers to the living", timeoutMs });
  load.stop();
  await waitFor(
    async () => (await n1.count("skerry_ingress_requests_total", "client-gone")) >= gone.size,
    { what: "those who have gone to be counted", timeoutMs },
  );
  const timed = await n1.count("skerry_ingress_request_seconds_count", 'outcome="client-gone"');
  assert.ok(timed >= gone.size, `${timed} were timed`);
  assert.deepEqual([...gone.intersection(paths)], [], "requests that nobody waited for");
});
