/**
 * From one version to the next while pods run, the server first, then the worker: pods keep their
 * processes, the other node's ingress answers throughout, the API tells the new version.
 */
import { strict as assert } from "node:assert";
import { execFile } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import type { CellStatus } from "../../src/api/index.ts";
import { keeperPid } from "../../src/keeper/index.ts";
import { readRecord, writeRecord } from "../../src/runtime/files/index.ts";
import { ask, makeTempDir, skerry, takeDown, type NodeInfo } from "../support/site.ts";
import { waitFor } from "../support/wait.ts";

const root = resolve(import.meta.dirname, "../..");
const dir = makeTempDir("upgrade");
const dataDir = (node: string) => join(dir, node);
const host = (node: string) => `127.0.188.${node === "n1" ? 11 : 12}`;

/** A copy of the package as it would be installed, with a version of its own. */
function install(name: string, version: string): string {
  const at = join(dir, name);
  mkdirSync(at);
  for (const part of ["bin", "src", "examples"])
    cpSync(join(root, part), join(at, part), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(at, "node_modules"));
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as object;
  writeFileSync(join(at, "package.json"), JSON.stringify({ ...manifest, version }));
  return at;
}

/** A command of one of the copies that must succeed. */
async function run(at: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await skerry(args, { launcher: join(at, "bin", "skerry.mjs") });
  assert.equal(code, 0, `skerry ${args.join(" ")}: ${stderr}${stdout}`);
  return stdout;
}

const up = async (at: string, node: string, flags: readonly string[] = []) =>
  JSON.parse(
    await run(at, ["up", "--data", dataDir(node), "--detach", "--json", ...flags]),
  ) as NodeInfo & { version: string };

/** Every pod with its uid and the processes it has, as its own node tells them. */
async function podsAsTheyAre(at: string): Promise<Record<string, string>> {
  const told = await Promise.all(
    ["n1", "n2"].map(async (node) => {
      const status = JSON.parse(
        await run(at, ["status", "--data", dataDir(node), "--json"]),
      ) as CellStatus;
      return status.pods.filter((pod) => pod.node === node && pod.ready);
    }),
  );
  return Object.fromEntries(
    told
      .flat()
      .map(({ name, node, uid, pids }) => [name, `${node} ${uid} ${JSON.stringify(pids)}`]),
  );
}

const twoPods = (at: string) =>
  waitFor(
    async () => {
      const pods = await podsAsTheyAre(at);
      const whole = Object.values(pods).every((text) => /"web":\d+/.test(text));
      return Object.keys(pods).length === 2 && whole ? pods : undefined;
    },
    { what: "two ready pods, with their processes", timeoutMs: 60_000 },
  );

/** Asks a node's ingress, one request after another, until told to stop. */
function askAlways(node: NodeInfo): { stop(): Promise<readonly number[]> } {
  const stopping = new AbortController();
  const statuses: number[] = [];
  const asking = (async () => {
    while (!stopping.signal.aborted) {
      statuses.push((await ask(`http://${node.ingress}/hello`)).status);
      await new Promise((resolve_) => setTimeout(resolve_, 50));
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      await asking;
      return statuses;
    },
  };
}

async function kubectl(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(
    "kubectl",
    ["--kubeconfig", kubeconfig, "--cache-dir", join(dir, "kube-cache"), ...args],
    { timeout: 30_000 },
  );
  return stdout;
}

/** The VERSION column by node, once the nodes of `wanted` tell theirs. */
const versions = (wanted: Record<string, string>) =>
  waitFor(
    async () => {
      const rows = (await kubectl("get", "nodes", "--no-headers")).trim().split("\n");
      const told = Object.fromEntries(
        rows.map((row) => [row.split(/ +/)[0] ?? "", row.split(/ +/)[3] ?? ""]),
      );
      return Object.entries(wanted).every(([node, version]) => told[node] === version)
        ? told
        : undefined;
    },
    { what: `versions ${JSON.stringify(wanted)}`, timeoutMs: 90_000 },
  );

let oldPackage: string;
let newPackage: string;
let kubeconfig: string;
let server: NodeInfo;
let worker: NodeInfo;
let pods: Record<string, string>;

before(async () => {
  oldPackage = install("old", "0.0.8");
  newPackage = install("new", "0.0.9");
  kubeconfig = join(dir, "kubeconfig");
  const at = (node: string) => ["--node", node, "--host", host(node)];
  server = await up(oldPackage, "n1", [...at("n1"), "--cell", "upgrade"]);
  const { token } = JSON.parse(
    await run(oldPackage, ["token", "create", "--data", dataDir("n1"), "--node", "n2", "--json"]),
  ) as { token: string };
  // The worker's keeper speaks a protocol of before.
  const ancient = install("ancient", "0.0.7");
  const protocol = join(ancient, "src", "keeper", "protocol.ts");
  const text = readFileSync(protocol, "utf8");
  assert.match(text, /protocolVersion = 1;/);
  writeFileSync(protocol, text.replace("protocolVersion = 1;", "protocolVersion = 0;"));
  worker = await up(ancient, "n2", [...at("n2"), "--join", token, "--server", server.peers]);
  await run(oldPackage, ["kubeconfig", "--data", dataDir("n1"), "-o", kubeconfig]);
  await kubectl("apply", "-f", join(oldPackage, "examples", "hello.yaml"));
  pods = await twoPods(oldPackage);
  for (const { ingress } of [server, worker])
    await waitFor(async () => (await ask(`http://${ingress}/hello`)).status === 200, {
      what: "the ingress to answer",
      timeoutMs: 90_000,
    });
});

after(async () => {
  assert.deepEqual(await takeDown(dir, [dataDir("n2"), dataDir("n1")]), []);
});

test("the server: replaced in place where it is installed, its keeper too; pods and the other ingress go on", async () => {
  const before_ = keeperPid(dataDir("n1"));
  const asking = askAlways(worker);
  // As a package manager does it: the old files are gone while their processes run.
  renameSync(oldPackage, `${oldPackage}.gone`);
  rmSync(`${oldPackage}.gone`, { recursive: true });
  cpSync(newPackage, oldPackage, { recursive: true, verbatimSymlinks: true });
  const upgraded = await up(oldPackage, "n1");
  assert.deepEqual([upgraded.version, upgraded.api], ["0.0.9", server.api]);
  assert.notEqual(upgraded.agentPid, server.agentPid);
  assert.notEqual(keeperPid(dataDir("n1")), before_);
  await waitFor(async () => (await ask(`http://${server.ingress}/hello`)).status === 200, {
    what: "the server's own ingress",
    timeoutMs: 90_000,
  });
  assert.deepEqual(new Set(await asking.stop()), new Set([200]));
  assert.deepEqual(await versions({ n1: "v0.0.9" }), { n1: "v0.0.9", n2: "v0.0.7" });
  assert.deepEqual(await twoPods(newPackage), pods);
});

test("the worker: a keeper that cannot be spoken to gives way; pods and the server's ingress go on", async () => {
  const asking = askAlways(server);
  const upgraded = await up(newPackage, "n2");
  assert.equal(upgraded.version, "0.0.9");
  await waitFor(async () => (await ask(`http://${worker.ingress}/hello`)).status === 200, {
    what: "the worker's own ingress",
    timeoutMs: 90_000,
  });
  assert.deepEqual(new Set(await asking.stop()), new Set([200]));
  assert.deepEqual(await versions({ n2: "v0.0.9" }), { n1: "v0.0.9", n2: "v0.0.9" });
  assert.deepEqual(await twoPods(newPackage), pods);
  // Once it is so, the same command finds everything as it shall be.
  assert.equal((await up(newPackage, "n2")).agentPid, upgraded.agentPid);
});

test("data of a later format is refused by name, and what runs goes on", async () => {
  const path = join(dataDir("n2"), "node.json");
  const record = readRecord(path) as object;
  writeRecord(path, { ...record, format: 9 });
  const { code, stderr } = await skerry(["up", "--data", dataDir("n2"), "--detach"], {
    launcher: join(newPackage, "bin", "skerry.mjs"),
  });
  writeRecord(path, record);
  assert.equal(code, 1);
  assert.match(
    stderr,
    /node\.json was written by a newer Skerry \(data format 9, this version knows 1\)/,
  );
  assert.match(stderr, /nothing was changed/);
  assert.deepEqual(await twoPods(newPackage), pods);
});
