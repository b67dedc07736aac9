/**
 * A site for end-to-end tests: a hub and nodes as real processes, reached through the command line and
 * kubectl only. Whatever a test does, `close` leaves no process and no folder behind.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import type { CellStatus, FleetStatus } from "../../src/api/index.ts";
import type { DrillReport } from "../../src/drill/index.ts";
import { waitFor } from "./wait.ts";

const launcher = fileURLToPath(new URL("../../bin/skerry.mjs", import.meta.url));
const commandTimeoutMs = 60_000;

export type Outcome = {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
};

export type RunningCommand = {
  readonly pid: number;
  stdout(): string;
  stderr(): string;
  kill(signal: NodeJS.Signals): void;
  readonly done: Promise<Outcome>;
};

function environmentFor(more: Record<string, string>): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(
    ([name]) => !/^(SKERRY_|KUBECONFIG$|NODE_TEST_CONTEXT$|NODE_OPTIONS$)/.test(name),
  );
  return { ...Object.fromEntries(own), ...more };
}

function start(
  file: string,
  args: readonly string[],
  options: { input?: string; env?: Record<string, string>; timeoutMs?: number; cwd?: string } = {},
): RunningCommand {
  const child = spawn(file, args, {
    env: environmentFor(options.env ?? {}),
    stdio: ["pipe", "pipe", "pipe"],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  // A command that refuses its arguments ends before it reads.
  child.stdin.on("error", () => undefined);
  child.stdin.end(options.input ?? "");
  const timer = setTimeout(() => child.kill("SIGKILL"), options.timeoutMs ?? commandTimeoutMs);
  const done = new Promise<Outcome>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr });
    });
  });
  return {
    pid: child.pid ?? 0,
    stdout: () => stdout,
    stderr: () => stderr,
    kill: (signal) => void child.kill(signal),
    done,
  };
}

/** `skerry ARGS` in the background; `launcher` is that of another copy of the package. */
export const startSkerry = (
  args: readonly string[],
  options: Parameters<typeof start>[2] & { launcher?: string } = {},
): RunningCommand => start(process.execPath, [options.launcher ?? launcher, ...args], options);

/** `skerry ARGS` to its end, whatever that is. */
export const skerry = (args: readonly string[], options: Parameters<typeof startSkerry>[1] = {}) =>
  startSkerry(args, options).done;

/** What `skerry drill LINE --json` reports; throws, broken promises first, when it does not hold them all. */
export async function runDrill(t: TestContext, line: string): Promise<DrillReport> {
  const drill = startSkerry(["drill", ...line.split(" "), "--json"], { timeoutMs: 280_000 });
  // It takes its site down itself when it is asked to stop.
  t.after(async () => {
    drill.kill("SIGINT");
    await drill.done;
  });
  const { code, stdout, stderr } = await drill.done;
  const report = JSON.parse(stdout.trim().split("\n").at(-1) || "{}") as DrillReport;
  if (code === 0 && report.ok) return report;
  const broken = (report.promises ?? []).filter(({ ok }) => !ok);
  throw new Error(
    [
      `drill ${line} ended with ${code}`,
      ...broken.map((promise) => `broke ${JSON.stringify(promise)}`),
      stderr,
    ].join("\n"),
  );
}

/** Standard output of a command that must succeed. */
export async function skerryText(
  args: readonly string[],
  options: Parameters<typeof start>[2] = {},
): Promise<string> {
  const { code, stdout, stderr } = await skerry(args, options);
  if (code !== 0)
    throw new Error(`skerry ${args.join(" ")} ended with ${code}: ${stderr}${stdout}`);
  return stdout;
}

/** The last line of its `--json` output. */
export async function skerryJson<T>(
  args: readonly string[],
  options: Parameters<typeof start>[2] = {},
): Promise<T> {
  const text = await skerryText([...args, "--json"], options);
  return JSON.parse(text.trim().split("\n").at(-1) ?? "") as T;
}

/** What `up --detach --json` answers. */
export type NodeInfo = {
  readonly node: string;
  readonly dataDir: string;
  readonly agentPid: number;
  readonly api: string;
  readonly peers: string;
  readonly gateway: string;
  readonly ingress: string;
};

export type HubInfo = { readonly dataDir: string; readonly address: string; readonly pid: number };

/** A folder of its own; what still runs there at the end is found by it. */
export function makeTempDir(name: string): string {
  return mkdtempSync(join(tmpdir(), `skerry-e2e-${name}-`));
}

/** Pids of processes that name this folder in their arguments or environment, this one excluded. */
export function processesOf(dir: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => ["cmdline", "environ"].some((file) => procText(pid, file).includes(dir)))
    .map(Number);
}

function procText(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    // It ended meanwhile, or it is not ours to read.
    return "";
  }
}

/** Stops what runs in the folders, ends by pid what is left, removes the folder. Gives what was left. */
export async function takeDown(dir: string, dataDirs: readonly string[]): Promise<number[]> {
  for (const dataDir of dataDirs) await skerry(["down", "--data", dataDir]);
  const gone = () => processesOf(dir).length === 0;
  const left = (await waitFor(gone, { what: "an empty site", timeoutMs: 5000 }).catch(
    () => undefined,
  ))
    ? []
    : processesOf(dir);
  for (const pid of left) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself.
    }
  }
  await waitFor(gone, { what: "killed processes to end" });
  rmSync(dir, { recursive: true, force: true });
  return left;
}

export type TestSite = {
  readonly dir: string;
  readonly cell: string;
  readonly hubDir: string;
  dataDir(name: string): string;
  host(name: string): string;
  /** As `agent.json` says now. */
  node(name: string): NodeInfo;
  startHub(): Promise<HubInfo>;
  /** Starts it again with what its folder knows. */
  up(name: string, flags?: readonly string[]): Promise<NodeInfo>;
  down(name: string, flags?: readonly string[]): Promise<void>;
  status(name: string): Promise<CellStatus>;
  fleet(): Promise<FleetStatus>;
  kubectl(
    args: readonly string[],
    options?: { input?: string; at?: string; timeoutMs?: number },
  ): Promise<Outcome>;
  startKubectl(args: readonly string[], options?: { at?: string }): RunningCommand;
  /** kubectl that must succeed: its standard output. */
  kube(args: readonly string[], options?: { input?: string; at?: string }): Promise<string>;
  /** JSON of `kubectl get ARGS -o json`. */
  get<T>(args: readonly string[], options?: { at?: string }): Promise<T>;
  /** What was still running after everything was stopped. */
  close(): Promise<number[]>;
};

/** Hub and nodes n1 (the server), n2 … on 127.0.SUBNET.10, .11 …; ready when every node says so. */
export async function startTestSite(options: {
  name: string;
  subnet: number;
  nodes: number;
  /** Added to the environment of a node's processes. */
  envOf?: (name: string) => Record<string, string>;
}): Promise<TestSite> {
  const { name: cell, subnet } = options;
  const dir = makeTempDir(cell);
  const names = Array.from({ length: options.nodes }, (_, index) => `n${index + 1}`);
  const dataDir = (name: string) => join(dir, name);
  const hubDir = dataDir("hub");
  const host = (name: string) => `127.0.${subnet}.${10 + Number(name.slice(1))}`;
  const kubeconfig = join(dir, "kubeconfig");
  const node = (name: string) =>
    JSON.parse(readFileSync(join(dataDir(name), "agent.json"), "utf8")) as NodeInfo;
  const startHub = () =>
    skerryJson<HubInfo>(["hub", "--data", hubDir, "--host", `127.0.${subnet}.10`, "--detach"]);
  const up = (name: string, flags: readonly string[] = []) =>
    skerryJson<NodeInfo>(["up", "--data", dataDir(name), "--detach", ...flags], {
      env: options.envOf?.(name) ?? {},
    });
  const kubectlArgs = (args: readonly string[], at: string | undefined) => [
    "--kubeconfig",
    kubeconfig,
    "--cache-dir",
    join(dir, "kube-cache"),
    ...(at === undefined
      ? []
      : ["--server", `https://${node(at).api}`, "--tls-server-name", `api.${cell}.skerry`]),
    ...args,
  ];
  const kubectl: TestSite["kubectl"] = (args, { input, at, timeoutMs } = {}) =>
    start("kubectl", kubectlArgs(args, at), {
      ...(input === undefined ? {} : { input }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    }).done;
  const kube: TestSite["kube"] = async (args, more) => {
    const { code, stdout, stderr } = await kubectl(args, more);
    if (code !== 0) throw new Error(`kubectl ${args.join(" ")} ended with ${code}: ${stderr}`);
    return stdout;
  };
  const close = () => takeDown(dir, [...names.toReversed().map(dataDir), hubDir]);
  try {
    const hub = await startHub();
    const token = async (args: readonly string[]) =>
      (await skerryJson<{ token: string }>(["token", "create", ...args])).token;
    const join_ = (name: string, flags: readonly string[]) =>
      up(name, ["--node", name, "--host", host(name), "--mqtt-plain-port", "1883", ...flags]);
    const first = await join_("n1", [
      "--cell",
      cell,
      "--hub",
      hub.address,
      "--hub-token",
      await token(["--cell", cell, "--data", hubDir]),
    ]);
    await Promise.all(
      names.slice(1).map(async (name) => {
        const joinToken = await token(["--node", name, "--data", first.dataDir]);
        return join_(name, ["--join", joinToken, "--server", first.peers]);
      }),
    );
    await skerryText(["kubeconfig", "--data", first.dataDir, "-o", kubeconfig]);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    dir,
    cell,
    hubDir,
    dataDir,
    host,
    node,
    startHub,
    up,
    async down(name, flags = []) {
      await skerryText(["down", "--data", name === "hub" ? hubDir : dataDir(name), ...flags]);
    },
    status: (name) => skerryJson<CellStatus>(["status", "--data", dataDir(name)]),
    fleet: () => skerryJson<FleetStatus>(["status", "--data", hubDir]),
    kubectl,
    startKubectl: (args, { at } = {}) => start("kubectl", kubectlArgs(args, at)),
    kube,
    get: async <T>(args: readonly string[], more: { at?: string } = {}) =>
      JSON.parse(await kube(["get", ...args, "-o", "json"], more)) as T,
    close,
  };
}

/** Three pods of `hello` and the example's streams, ready on the site's nodes. */
export async function applyExamples(site: TestSite): Promise<void> {
  for (const name of ["hello.yaml", "stream.yaml"]) await site.kube(["apply", "-f", example(name)]);
  await site.kube(["scale", "deployment/hello", "--replicas=3"]);
  await waitReady(site, "hello");
}

export const example = (name: string) =>
  fileURLToPath(new URL(`../../examples/${name}`, import.meta.url));

/** Of the pods of one application: uid and processes, as `skerry status` tells them. */
export function podIdentities(status: CellStatus, prefix: string): Map<string, string> {
  return new Map(
    status.pods
      .filter((pod) => pod.name.startsWith(prefix) && pod.ready)
      .map((pod) => [pod.name, `${pod.uid} ${JSON.stringify(pod.pids)}`]),
  );
}

/** Waits until the whole application is ready, and gives its pods. */
export async function waitReady(
  site: TestSite,
  app: string,
  options: { at?: string; timeoutMs?: number } = {},
): Promise<CellStatus["pods"]> {
  return waitFor(
    async () => {
      const status = await site.status(options.at ?? "n1");
      const workload = status.workloads.find(({ name }) => name === app);
      const pods = status.pods.filter((pod) => pod.name.startsWith(`${app}-`));
      return workload !== undefined &&
        workload.ready === workload.desired &&
        pods.length === workload.desired &&
        pods.every(({ ready }) => ready)
        ? pods
        : undefined;
    },
    { what: `all pods of ${app} to be ready`, timeoutMs: options.timeoutMs ?? 40_000 },
  );
}

/** Status and text of one HTTP request. */
export async function ask(
  url: string,
  init: RequestInit = {},
): Promise<{ status: number; text: string }> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(5000), ...init });
  return { status: answer.status, text: await answer.text() };
}
