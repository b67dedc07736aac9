import { strict as assert } from "node:assert";
import { fork } from "node:child_process";
import { resolve } from "node:path";
import { test } from "node:test";
import { testCell, testListener, utf8 } from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

const entry = resolve(import.meta.dirname, "../support/transport-peer.entry.ts");

test("T22: a stopped peer is given up, and its link comes back when it goes on", async () => {
  const cell = await testCell();
  const [n1, n2] = [await cell.credentials("node", "n1"), await cell.credentials("node", "n2")];
  const listener = await testListener(cell, n1);
  const child = fork(entry, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  try {
    child.send({ port: listener.port, credentials: n2, trust: cell.trust });
    const link = await waitFor(() => listener.links()[0], { what: "the link", timeoutMs: 20_000 });
    child.kill("SIGSTOP");
    const call = link
      .request("anything", utf8(""))
      .catch((error: Error & { code: string }) => error);
    await waitFor(() => link.closed.aborted, { what: "the peer to be given up" });
    assert.equal((link.closed.reason as Error & { code: string }).code, "link-dead");
    assert.equal(((await call) as Error & { code: string }).code, "link-lost");
    assert.deepEqual(listener.links(), []);
    child.kill("SIGCONT");
    await waitFor(() => listener.links()[0], { what: "the link to come back" });
  } finally {
    child.kill("SIGKILL");
    await listener.close();
  }
});
