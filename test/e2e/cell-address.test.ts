/** An address of the cell from its flag to its listeners: ingress, MQTT and the API answer there, by name. */
import { strict as assert } from "node:assert";
import { connect as connectPlain } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { connect } from "node:tls";
import { cellAddressKind } from "../../src/api/index.ts";
import { createCluster } from "../../src/client/index.ts";
import { createTlsFetch } from "../../src/runtime/tls-fetch/index.ts";
import { makeTempDir, skerry, skerryJson, takeDown, type NodeInfo } from "../support/site.ts";
import { waitFor } from "../support/wait.ts";

const address = "127.0.49.50";
const timeoutMs = 30_000;
const dir = makeTempDir("address");
const dataDir = join(dir, "n1");
const flags = ["--host", "127.0.49.11", "--data", dataDir, "--mqtt-plain-port", "1883"];
const given = ["--cell-address", `${address}/32`, "--cell-address-interface", "lo"];
const isOnLoopback = () =>
  networkInterfaces()["lo"]?.some((own) => own.address === address) ?? false;

after(async () => {
  assert.deepEqual(await takeDown(dir, [dataDir]), [], "`skerry down` left processes");
});

test("AD1, AD6, AD8: ingress, MQTT and API answer at the cell's address while its node runs", async () => {
  assert.equal(process.getuid?.(), 0, "addresses are given as root, which CI gives");
  const wrong = ["up", "--cell", "a", "--node", "n1", ...flags, "--cell-address", "127.0.49.50"];
  const refused = await skerry([...wrong, "--detach"]);
  assert.equal(refused.code, 2, refused.stderr);
  assert.match(refused.stderr, /cellAddress.*192\.0\.2\.50\/24/s);

  const up = ["up", "--cell", "a", "--node", "n1", ...flags, ...given, "--detach"];
  const node = await skerryJson<NodeInfo>(up);
  const access = await skerryJson<{
    serverName: string;
    keyPem: string;
    chainPem: string;
    anchorsPem: string[];
  }>(["kubeconfig", "--data", dataDir]);
  const ingress = async () => (await fetch(`http://${address}:8080/`)).status;
  assert.equal(await waitFor(ingress, { what: "the ingress at the address", timeoutMs }), 404);
  assert.ok(isOnLoopback());

  const tls = createTlsFetch(access);
  try {
    const cluster = createCluster({
      server: `https://${address}:7443`,
      fetch: tls.fetch,
      fieldManager: "test",
    });
    const found = await waitFor(() => cluster.get(cellAddressKind, { name: "cell" }), {
      what: "the cell API at the address",
      timeoutMs,
    });
    assert.equal(found.status?.holder, node.node);
  } finally {
    await tls.close();
  }
  for (const port of [7443, 8883])
    await waitFor(async () => (await namesAt(port)).includes(`IP Address:${address}`), {
      what: `a certificate for the address at port ${port}`,
      timeoutMs,
    });
  const plain = connectPlain(1883, address);
  await new Promise<void>((resolve, reject) => {
    plain.once("connect", resolve).once("error", reject);
  });
  const ended = new Promise<void>((resolve) => plain.once("close", () => resolve()));
  plain.on("error", () => undefined);

  assert.equal((await skerry(["down", "--data", dataDir])).code, 0);
  await ended;
  assert.equal(isOnLoopback(), false);
});

/** Of the certificate that is shown there; it is judged by others. */
function namesAt(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerX509Certificate()?.subjectAltName ?? "");
      socket.destroy();
    });
    socket.once("error", reject);
  });
}
