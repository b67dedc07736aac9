/**
 * The published package: what `npm run build` makes serves like the source does. It is laid out as
 * npm would install it (no src/, no tests) and a hub and a node of it are started by its own command.
 */
import { strict as assert } from "node:assert";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  globSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { after, before, test } from "node:test";
import { streamKind } from "../../src/api/index.ts";
import { createCluster, exampleStream } from "../../src/client/index.ts";
import type { EntryCheckConfig, EntryCheckResult } from "../../src/drill/checkers/entries.ts";
import type { NumberCheckConfig, NumberCheckResult } from "../../src/drill/checkers/numbers.ts";
import type { BulkLoadConfig, BulkLoadResult } from "../../src/drill/load/bulk.ts";
import type {
  CoordinationLoadConfig,
  CoordinationLoadResult,
} from "../../src/drill/load/coordination.ts";
import type { EntryLoadConfig, EntryLoadResult } from "../../src/drill/load/entries.ts";
import type { RequestLoadConfig, RequestLoadResult } from "../../src/drill/load/requests.ts";
import { singletonFile } from "../../src/drill/load/singleton.ts";
import { buildShim } from "../../src/drill/faults/power-cut-shim.ts";
import type { CutsOptions, CutsResult } from "../../src/drill/simulated/power-cut/cuts.ts";
import { startWorker } from "../../src/drill/site/worker.ts";
import { connectGlobalDocuments, type GlobalDocumentMethods } from "../../src/data/index.ts";
import type { HubStorageData } from "../../src/hub/storage.ts";
import { parsePostgresUrl } from "../../src/runtime/postgres/index.ts";
import { startThread } from "../../src/runtime/thread/index.ts";
import { createTlsFetch } from "../../src/runtime/tls-fetch/index.ts";
import { startPostgres } from "../support/postgres.ts";
import { waitFor } from "../support/wait.ts";

const root = resolve(import.meta.dirname, "../..");
const stream = "readings";
let dir: string;
let packageDir: string;
/** Entries seen at work, as they are named in `src/`. */
const started = new Set<string>();
const closers: (() => void)[] = [];

before(() => {
  dir = mkdtempSync(join(tmpdir(), "skerry-dist-"));
  packageDir = join(dir, "package");
  const { files } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    files: string[];
  };
  for (const name of ["package.json", ...files.filter((file) => file !== "dist")])
    cpSync(join(root, name), join(packageDir, name), { recursive: true });
  const build = spawnSync(
    process.execPath,
    [join(root, "scripts", "build.mjs"), join(packageDir, "dist")],
    { encoding: "utf8" },
  );
  assert.equal(build.status, 0, build.stdout + build.stderr);
  symlinkSync(join(root, "node_modules"), join(packageDir, "node_modules"));
});

after(() => {
  for (const close of closers.toReversed()) close();
  rmSync(dir, { recursive: true, force: true });
});

/** Runs the package's own command; its last line as JSON. */
function skerry<T>(...args: string[]): T {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(packageDir, "bin", "skerry.mjs"), ...args, "--json"],
    { encoding: "utf8", cwd: dir, timeout: 60_000, env: { ...process.env, SKERRY_DIST: "1" } },
  );
  assert.equal(status, 0, `skerry ${args.join(" ")}: ${stdout}${stderr}`);
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as T;
}

const entryUrl = (path: string) =>
  pathToFileURL(join(packageDir, "dist", path.replace(/\.ts$/, ".js")));

/** Command lines of this package's processes that live now. */
function processes(): string {
  return globSync("/proc/[0-9]*/cmdline")
    .map((path) => {
      try {
        return readFileSync(path, "utf8");
      } catch {
        return ""; // It ended meanwhile.
      }
    })
    .filter((line) => line.includes(packageDir))
    .join("\n");
}

test("npm packs what the package needs, and nothing else", () => {
  const { stdout, stderr, status } = spawnSync(
    "npm",
    ["pack", "--dry-run", "--json", "--ignore-scripts"],
    { cwd: packageDir, encoding: "utf8" },
  );
  assert.equal(status, 0, stderr);
  const [packed] = JSON.parse(stdout) as { files: { path: string }[] }[];
  const paths = (packed?.files ?? []).map(({ path }) => path);
  const belongs =
    /^(dist\/.+\.js(?:\.map)?|dist\/THIRD-PARTY\.txt|dist\/(?:client|api|lib)\/.+\.d\.ts|dist\/drill\/faults\/[a-z-]+\.c|bin\/skerry\.mjs|docs\/(?:.+\.md|openapi\.json)|examples\/.+\.(?:yaml|json|mjs)|package\.json|README\.md|LICENSE|CHANGELOG\.md|SECURITY\.md|CONTRIBUTING\.md)$/;
  assert.deepEqual(
    paths.filter((path) => !belongs.test(path)),
    [],
  );
  for (const path of [
    "bin/skerry.mjs",
    "dist/cli/main.entry.js",
    "dist/THIRD-PARTY.txt",
    "README.md",
    "LICENSE",
  ])
    assert.ok(paths.includes(path), path);
});

test("a program imports skerry/client, with its types", () => {
  const script =
    "import { createCoordination } from 'skerry/client'; console.log(typeof createCoordination);";
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    cwd: packageDir,
    encoding: "utf8",
  });
  assert.equal(stdout.trim(), "function", stderr);
  assert.ok(existsSync(join(packageDir, "dist", "client", "index.d.ts")));
});

test("a hub and a node run from dist/, take entries, and stop", async () => {
  const hub = skerry<{ address: string; dataDir: string }>(
    ...["hub", "--data", join(dir, "hub"), "--host", "127.0.170.10", "--port", "0", "--detach"],
  );
  closers.push(() => skerry("down", "--data", join(dir, "hub")));
  started.add("cli/main.entry.ts");
  const { token: hubToken } = skerry<{ token: string }>(
    ...["token", "create", "--data", hub.dataDir, "--cell", "dist"],
  );
  const ports = ["api", "mesh", "peers", "gateway", "mqtt", "mqtt-plain", "ingress"];
  const dataDir = join(dir, "n1");
  closers.push(() => skerry("down", "--data", dataDir));
  const node = skerry<{ gateway: string; ingress: string; mqttPlain: string }>(
    ...["up", "--data", dataDir, "--cell", "dist", "--node", "n1", "--host", "127.0.170.11"],
    ...ports.flatMap((port) => [`--${port}-port`, "0"]),
    ...["--hub", hub.address, "--hub-token", hubToken, "--detach"],
  );
  const running = processes();
  for (const entry of ["keeper/keeper.entry", "agent/agent.entry", "hub/hub.entry"]) {
    assert.ok(running.includes(`dist/${entry}.js`), `${entry} among\n${running}`);
    started.add(`${entry}.ts`);
  }

  // The proxy's thread answers the ingress.
  const ingress = await waitFor(
    async () => {
      const answer = await fetch(`http://${node.ingress}/nowhere`);
      return answer.status === 404 && answer;
    },
    { what: "the ingress to know its routes" },
  );
  assert.match(await ingress.text(), /no-route/);
  started.add("traffic/proxy.entry.ts");

  // The storage thread keeps what the loads send, and the hub's gets what may leave.
  const access = skerry<{
    server: string;
    serverName: string;
    keyPem: string;
    chainPem: string;
    anchorsPem: string[];
  }>("kubeconfig", "--data", dataDir);
  const tls = createTlsFetch(access);
  closers.push(() => void tls.close());
  const cluster = createCluster({
    server: access.server,
    fetch: tls.fetch,
    fieldManager: "test",
  });
  await cluster.apply(streamKind, exampleStream(stream, ["sequence"], "for the test"));
  const { token } = skerry<{ token: string }>(
    ...["token", "create", "--data", dataDir, "--app", "test"],
  );
  const [host = "", port = ""] = node.mqttPlain.split(":");
  const acknowledgedPath = join(dir, "acknowledged.tsv");
  const entries = startWorker<EntryLoadConfig, EntryLoadResult>(
    entryUrl("drill/load/entries.entry.ts"),
    {
      dir,
      name: "entries",
      untilFinished: true,
      config: {
        seed: 1,
        stream,
        nodes: [{ name: "n1", gateway: node.gateway, mqtt: { host, port: Number(port) }, token }],
        perSecond: 50,
        tickMs: 100,
        resendShare: 0.2,
        attemptTimeoutMs: 2000,
        graceMs: 5000,
        acknowledgedPath,
      },
    },
  );
  // Asked in turn with the node: once it was, the node was as well.
  let seen = 0;
  const counter = createServer((_request, response) => {
    seen++;
    response.end();
  });
  await new Promise<void>((resolve) => counter.listen(0, "127.0.0.1", resolve));
  closers.push(() => {
    counter.closeAllConnections();
    counter.close();
  });
  const requests = startWorker<RequestLoadConfig, RequestLoadResult>(
    entryUrl("drill/load/requests.entry.ts"),
    {
      dir,
      name: "requests",
      untilFinished: true,
      config: {
        targets: [
          {
            name: "n1",
            url: `${node.gateway}/v1/status`,
            headers: { authorization: `Bearer ${token}` },
          },
          {
            name: "counter",
            url: `http://127.0.0.1:${(counter.address() as AddressInfo).port}`,
          },
        ],
        perSecond: 20,
        deadlineMs: 60_000,
        inFlightMax: 100,
      },
    },
  );
  await waitFor(() => readFileSync(acknowledgedPath, "utf8").split("\n").length > 20, {
    what: "20 acknowledged entries",
    timeoutMs: 30_000,
  });
  await waitFor(() => seen > 0, { what: "the requests to begin" });
  const [sent, asked] = await Promise.all([entries.finish(), requests.finish()]);
  assert.ok(sent.acknowledged >= 20, JSON.stringify(sent.failures));
  assert.ok(asked.samples.some(({ target, failure }) => target === "n1" && failure === undefined));
  started.add("drill/load/entries.entry.ts");
  started.add("drill/load/requests.entry.ts");

  const hubAccess = skerry<typeof access>("kubeconfig", "--data", hub.dataDir);
  const config: EntryCheckConfig = {
    acknowledgedPath,
    stream,
    timeoutMs: 60_000,
    views: [
      { name: "n1", url: node.gateway, token },
      {
        name: "hub",
        url: hubAccess.server,
        query: { cell: "dist" },
        tls: {
          key: hubAccess.keyPem,
          cert: hubAccess.chainPem,
          ca: hubAccess.anchorsPem.join("\n"),
          servername: hubAccess.serverName,
        },
      },
    ],
  };
  const checked = await startWorker<EntryCheckConfig, EntryCheckResult>(
    entryUrl("drill/checkers/entries.entry.ts"),
    { dir, name: "check", config, untilFinished: false },
  ).finish();
  for (const { name, lost, duplicated, failure } of checked.views)
    assert.deepEqual(
      { name, lost, duplicated, failure },
      { name, lost: 0, duplicated: 0, failure },
    );
  started.add("drill/checkers/entries.entry.ts");
  started.add("agent/storage.entry.ts");
  started.add("hub/storage.entry.ts");

  // A query is answered by a thread of its own, which knows no such collection.
  const unknown = await fetch(`${node.gateway}/v1/documents/nothing/query`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}` },
  });
  assert.match(await unknown.text(), /collection-unknown/);
  started.add("data/queries/queries.entry.ts");
  const views = await fetch(`${node.gateway}/v1/data/sql`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ sql: `select name from all_views where name = '${stream}'` }),
  });
  assert.deepEqual(await views.json(), { columns: ["name"], rows: [[stream]], more: false });
  started.add("data/queries/sql/sql.entry.ts");

  // Threads of the node and of the hub read what each holds, and find it equal.
  const verified = skerry<{ state: string }>("data", "verify", stream, "--data", dataDir);
  assert.equal(verified.state, "equal");
  started.add("agent/audit.entry.ts");
  started.add("hub/audit.entry.ts");

  await coordinates(node.gateway, token);
  await poursIn(node.gateway, token);

  // A backup is sealed and proved in a thread of its own.
  const backup = skerry<{ keys: number }>("backup", "now", "--data", dataDir);
  assert.ok(backup.keys > 0);
  started.add("agent/backup.entry.ts");

  for (const folder of [dataDir, hub.dataDir])
    assert.deepEqual(skerry("down", "--data", folder), { dataDir: folder, stopped: true });
  await waitFor(() => processes() === "", { what: "no process of theirs to be left" });
});

/** What the drill of a long absence pours in: at least one batch for each of its workers. */
async function poursIn(gateway: string, token: string): Promise<void> {
  const load = startWorker<BulkLoadConfig, BulkLoadResult>(entryUrl("drill/load/bulk.entry.ts"), {
    dir,
    name: "bulk",
    untilFinished: true,
    config: {
      ...{ stream, nodes: [{ gateway, token }] },
      ...{ inFlight: 1, entriesPerRequest: 10, timeoutMs: 30_000 },
    },
  });
  const { acknowledged, written, failures } = await load.finish();
  assert.ok(acknowledged >= 10, JSON.stringify(failures));
  started.add("drill/load/bulk.entry.ts");
  const numbers = await startWorker<NumberCheckConfig, NumberCheckResult>(
    entryUrl("drill/checkers/numbers.entry.ts"),
    {
      ...{ dir, name: "numbers", untilFinished: false },
      config: { view: { name: "n1", url: gateway, token }, stream, written: [written] },
    },
  ).finish();
  // Others wrote to it as well, without numbers.
  assert.ok("found" in numbers && numbers.found >= acknowledged, JSON.stringify(numbers));
  assert.deepEqual([numbers.lost, numbers.duplicated], [0, 0]);
  started.add("drill/checkers/numbers.entry.ts");
}

/** The clients of the coordination interface, which the drills of consensus start. */
async function coordinates(gateway: string, token: string): Promise<void> {
  const historyPath = join(dir, "history.jsonl");
  writeFileSync(historyPath, "");
  const client = startWorker<CoordinationLoadConfig, CoordinationLoadResult>(
    entryUrl("drill/load/coordination.entry.ts"),
    {
      dir,
      name: "coordination",
      untilFinished: true,
      config: {
        ...{ client: 1, seed: 1, gateway, token, historyPath, registers: 2, locks: 1 },
        ...{ pauseMs: 20, createEveryMs: 200, timeoutMs: 10_000, sessionTtlMs: 10_000 },
      },
    },
  );
  const tokenPath = join(dir, "singleton.token");
  writeFileSync(tokenPath, token);
  const singleton = spawn(
    process.execPath,
    [fileURLToPath(entryUrl("drill/load/singleton.entry.ts"))],
    {
      stdio: "ignore",
      env: {
        ...process.env,
        ...{ SINGLETON_DIR: dir, NODE_NAME: "n1", POD_NAME: "p1" },
        ...{ SKERRY_GATEWAY: gateway, SKERRY_TOKEN_FILE: tokenPath },
      },
    },
  );
  closers.push(() => singleton.kill("SIGKILL"));
  const written = (path: string, text: string) =>
    existsSync(path) && readFileSync(path, "utf8").includes(text);
  await waitFor(() => written(historyPath, '"state":"done"'), {
    what: "an operation that was done",
    timeoutMs: 30_000,
  });
  await waitFor(() => written(join(dir, singletonFile("n1", "p1")), '"outcome":"done"'), {
    what: "a write under the lock",
    timeoutMs: 30_000,
  });
  const ended = once(singleton, "exit");
  singleton.kill("SIGTERM");
  await ended;
  assert.ok((await client.finish()).operations > 0);
  started.add("drill/load/coordination.entry.ts");
  started.add("drill/load/singleton.entry.ts");
}

test("garbage of a process is collected from dist/", async () => {
  const child = spawn(
    process.execPath,
    ["--inspect=127.0.0.1:0", "-e", "setInterval(() => undefined, 1000)"],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  closers.push(() => child.kill("SIGKILL"));
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const port = await waitFor(() => /ws:\/\/127\.0\.0\.1:(\d+)\//.exec(said)?.[1], {
    what: "an inspector",
    timeoutMs: 30_000,
  });
  const entry = fileURLToPath(entryUrl("drill/scripts/soak-collect.entry.ts"));
  const { status, stderr } = spawnSync(process.execPath, [entry, port, "20000"], {
    encoding: "utf8",
    timeout: 60_000,
  });
  assert.equal(status, 0, stderr);
  child.kill("SIGKILL");
  started.add("drill/scripts/soak-collect.entry.ts");
});

test("power cuts over the rooms' files are played from dist/", async () => {
  const config = { seed: 1, shim: buildShim(), cuts: 2, cutsPerLife: 2, logBytes: 300_000 };
  const { cuts, complaints } = await startWorker<Omit<CutsOptions, "dir">, CutsResult>(
    entryUrl("drill/simulated/power-cut/cuts.entry.ts"),
    { dir, name: "cuts", config, untilFinished: false },
  ).finish();
  assert.deepEqual({ cuts, complaints }, { cuts: 2, complaints: [] });
  started.add("drill/simulated/power-cut/cuts.entry.ts");
  started.add("drill/simulated/power-cut/writer.entry.ts");
});

test("the hub's documents in PostgreSQL are kept from dist/", async () => {
  await using server = await startPostgres({ host: "127.0.67.1" });
  const data: HubStorageData = {
    dataDir: dir,
    logLevel: "error",
    postgres: parsePostgresUrl(await server.freshUrl()),
  };
  const thread = await startThread<GlobalDocumentMethods>(entryUrl("hub/documents.entry.ts"), {
    name: "documents",
    data,
  });
  const store = connectGlobalDocuments(thread);
  await store.publish({ name: "prices" });
  assert.deepEqual(await store.publications(), [{ name: "prices" }]);
  await store.close();
  await thread.terminate();
  started.add("hub/documents.entry.ts");
  started.add("runtime/postgres/sync.entry.ts");
});

test("every entry of the source was started from dist/", () => {
  const inSource = globSync("**/*.entry.ts", { cwd: join(root, "src") }).sort();
  assert.deepEqual([...started].sort(), inSource);
});

test("on an older Node the command says what it needs", () => {
  // The launcher reads `process.versions.node`; a preloaded lie stands in for an older Node.
  const lie = join(dir, "lie.cjs");
  writeFileSync(
    lie,
    'Object.defineProperty(process.versions, "node", { value: "20.19.2" }); Object.defineProperty(process, "versions", { value: { ...process.versions, node: "20.19.2" } });',
  );
  // Without npm's Node 24 beside it, which a checkout has.
  cpSync(join(packageDir, "bin"), join(dir, "alone", "bin"), { recursive: true });
  const { status, stderr } = spawnSync(
    process.execPath,
    ["--require", lie, join(dir, "alone", "bin", "skerry.mjs"), "status"],
    { encoding: "utf8" },
  );
  assert.equal(status, 2);
  assert.match(stderr, /needs Node 24 or newer; this is Node 20\.19\.2/);
});
