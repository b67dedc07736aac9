/** Machines that come back under another address: a worker, then the only server. The cell heals by itself. */
import { strict as assert } from "node:assert";
import { connect } from "node:tls";
import { after, before, test } from "node:test";
import { skerry, startTestSite, type TestSite } from "../support/site.ts";
import { waitFor } from "../support/wait.ts";

let site: TestSite;

before(async () => {
  site = await startTestSite({ name: "moves", subnet: 80, nodes: 2 });
  // A node is ready before it has told the cell where it is: one that the cell never knew has not moved.
  for (const name of ["n1", "n2"])
    await waitFor(async () => (await addressesOf(name)).includes(site.host(name)), {
      what: `the cell to know where ${name} is`,
    });
});

after(async () => {
  assert.deepEqual(await site.close(), [], "`skerry down` left processes");
});

async function addressesOf(name: string): Promise<readonly string[]> {
  const { items } = await site.get<{
    items: { metadata: { name: string }; status?: { addresses?: { address: string }[] } }[];
  }>(["nodes"]);
  return items
    .filter(({ metadata }) => metadata.name === name)
    .flatMap(({ status }) => (status?.addresses ?? []).map(({ address }) => address));
}

async function move(name: string, to: string): Promise<void> {
  await site.down(name);
  const refused = await skerry([
    ...["up", "--data", site.dataDir(name), "--detach"],
    ...["--host", "192.0.2.77"],
  ]);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /host: 192\.0\.2\.77 is no address of this machine, which has /);
  assert.match(refused.stderr, /did the machine get another one\? skerry up --host /);
  const info = await site.up(name, ["--host", to]);
  assert.equal(info.api, `${to}:7443`);
}

/** Every node sees every node alive, `name` at its new address, and desired state as it is now. */
async function waitKnown(name: string, address: string): Promise<void> {
  for (const at of ["n1", "n2"])
    await waitFor(
      async () => {
        const { nodes } = await site.status(at);
        return (
          nodes.every(({ verdict, report }) => verdict.state === "alive" && report !== undefined) &&
          nodes.find((node) => node.name === name)?.address === address &&
          nodes.find((node) => node.name === at)?.report?.desiredState.live === true
        );
      },
      { what: `${at} to know ${name} at ${address}`, timeoutMs: 90_000 },
    );
}

const namesServedAt = (host: string, port: number): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host, port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().subjectaltname ?? "");
      socket.destroy();
    });
    socket.on("error", reject);
  });

const waitNamed = (host: string, port: number) =>
  waitFor(async () => (await namesServedAt(host, port)).includes(`IP Address:${host}`), {
    what: `the certificate at ${host}:${port} to name its address`,
  });

const waitTold = (words: string) =>
  waitFor(
    async () =>
      (
        await site.get<{ items: { message?: string; involvedObject: { name: string } }[] }>([
          "events",
          "-A",
        ])
      ).items.some(({ message }) => message === words),
    { what: `an event: ${words}` },
  );

test("a worker whose address changed is reached there, named there, and said to have moved", async () => {
  const to = "127.0.80.22";
  await move("n2", to);
  await waitKnown("n2", to);
  await waitTold(`n2 moved from ${site.host("n2")} to ${to}`);
  // Its API is a server's: the certificate of its own stands at MQTT.
  await waitNamed(to, 8883);
  await waitFor(async () => (await site.status("n1")).words.join() === "All is well", {
    what: "n1 to say that all is well",
    timeoutMs: 90_000,
  });
});

test("the only server is found at its new address, by a worker that only it could have told", async () => {
  const to = "127.0.80.21";
  await move("n1", to);
  await waitKnown("n1", to);
  await waitNamed(to, 7443);
  // Through a worker, which passes it to the server.
  await site.kube(["create", "configmap", "after"], { at: "n2" });
});
