/** A node whose disk loses what it was given: from the first failed fsync on it acknowledges nothing (D1). */
import { strict as assert } from "node:assert";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { connectAsync } from "mqtt";
import { streamKind, type CellStatus } from "../../src/api/index.ts";
import { createCluster } from "../../src/client/index.ts";
import { createTlsFetch } from "../../src/runtime/tls-fetch/index.ts";
import { failingDisk } from "../support/failing-disk.ts";
import { makeTempDir, skerryJson, skerryText, takeDown, type NodeInfo } from "../support/site.ts";
import { waitFor } from "../support/wait.ts";

const host = "127.0.51.11";
const dir = makeTempDir("failing-disk");
const dataDir = join(dir, "n1");
mkdirSync(dataDir, { mode: 0o700 });
const disk = failingDisk(dataDir);
const at = ["--data", dataDir];
/** MQTT 5: implementation specific error, which stands for all that is no mistake of the client. */
const refusedByServer = 0x83;

after(async () => {
  assert.deepEqual(await takeDown(dir, [dataDir]), [], "`skerry down` left processes");
});

const start = (flags: readonly string[] = []) =>
  skerryJson<NodeInfo>(["up", ...at, ...flags, "--detach"], { env: disk.env });

async function declareReadings(api: string): Promise<void> {
  const tls = createTlsFetch(await skerryJson(["kubeconfig", ...at]));
  try {
    const cluster = createCluster({
      server: `https://${api}`,
      fetch: tls.fetch,
      fieldManager: "test",
    });
    await cluster.apply(streamKind, {
      apiVersion: "skerry.dev/v1alpha1",
      kind: "Stream",
      metadata: { name: "readings" },
      spec: { durability: "local", mqtt: { topics: ["readings/#"] } },
    });
  } finally {
    await tls.close();
  }
}

const keptNumbers = async () =>
  (await skerryText(["data", "query", "readings", "--json", ...at]))
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => (JSON.parse(line) as { body: { n: number } }).body.n);

test("D1: after a failed fsync nothing is acknowledged, over HTTP or MQTT, and why; a restart has all that was", async () => {
  const node = await start([
    "--cell",
    "a",
    "--node",
    "n1",
    "--host",
    host,
    "--mqtt-plain-port",
    "1883",
  ]);
  await declareReadings(node.api);
  const token = (await skerryText(["token", "create", "--app", "scale", ...at])).trim();
  const acknowledged: number[] = [];
  let sent = 0;
  const post = async () => {
    const n = ++sent;
    const answer = await fetch(`${node.gateway}/v1/streams/readings/entries`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
      body: JSON.stringify({ n }),
    });
    if (answer.ok) acknowledged.push(n);
    return { status: answer.status, text: await answer.text() };
  };
  await waitFor(async () => (await post()).status === 200, { what: "the stream" });
  const mqtt = await connectAsync(`mqtt://${host}:1883`, {
    protocolVersion: 5,
    username: "scale",
    password: token,
    reconnectPeriod: 0,
  });
  const publish = async () => {
    const n = ++sent;
    try {
      await mqtt.publishAsync("readings/a", JSON.stringify({ n }), { qos: 1 });
    } catch (error) {
      return (error as { code?: unknown }).code;
    }
    acknowledged.push(n);
    return undefined;
  };
  assert.equal((await post()).status, 200);
  assert.equal(await publish(), undefined);

  const assertRefused = async () => {
    const [answer, code] = await Promise.all([post(), publish()]);
    assert.equal(answer.status, 500);
    assert.match(answer.text, /"storage-failed".*the disk failed under .*streams\.db.*restarted/);
    assert.equal(code, refusedByServer);
  };
  disk.failSync(true);
  await assertRefused();
  // An fsync that succeeds again says nothing of what the first one lost.
  disk.failSync(false);
  await assertRefused();
  await mqtt.endAsync();
  const { words } = await skerryJson<CellStatus>(["status", ...at]);
  assert.equal(words[0], "Not whole: disks of nodes. Everything else goes on.");
  assert.ok(words.some((line) => line.startsWith("n1 acknowledges no entries: the disk failed")));

  await skerryText(["down", ...at]);
  await start();
  await waitFor(async () => (await post()).status === 200, { what: "the stream" });
  const kept = await keptNumbers();
  assert.deepEqual(
    acknowledged.filter((n) => !kept.includes(n)),
    [],
  );
  assert.equal(new Set(kept).size, kept.length);
});
