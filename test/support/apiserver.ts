/** A cell API for tests: a real ledger, real certificates, kubectl on PATH, logs made by the test. */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { request as httpsRequest } from "node:https";
import type { IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { kinds, type KubeObject } from "../../src/api/index.ts";
import {
  createApiServer,
  renderKubeconfig,
  type ApiServer,
  type ApiServerOptions,
  type PodLogs,
} from "../../src/apiserver/index.ts";
import { authorize } from "../../src/authorization/index.ts";
import {
  createRequest,
  generateKeyPem,
  spiffeId,
  verifyPeer,
  type Authority,
  type Credentials,
} from "../../src/identity/index.ts";
import { openSqliteLedger, type Ledger } from "../../src/ledger/index.ts";
import type { Log } from "../../src/lib/log.ts";
import {
  createLedgerResources,
  ensureNamespaces,
  type Resources,
} from "../../src/resources/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { temporaryAuthority } from "./identity.ts";

export const trustDomain = "cell-t.skerry";
export const serverName = "api.cell-t.skerry";

export type LoggedError = { message: string; error: unknown };

export type TestCell = AsyncDisposable & {
  readonly authority: Authority;
  readonly ledger: Ledger;
  readonly resources: Resources;
  readonly api: ApiServer;
  readonly host: string;
  readonly port: number;
  readonly folder: string;
  /** What the server itself logged as errors; empty in a healthy run. */
  readonly errors: LoggedError[];
  /** Credentials of `user/NAME` or `node/NAME`. */
  credentials(role: "user" | "node", name: string): Promise<Credentials>;
};

export type CellOptions = {
  readonly podLogs?: PodLogs;
  readonly resources?: (resources: Resources) => Resources;
  readonly api?: Partial<ApiServerOptions>;
  /** A free one when absent. */
  readonly port?: number;
};

const noLogs: PodLogs = {
  // eslint-disable-next-line require-yield
  async *read() {
    throw new Error("this test reads no logs");
  },
};

export async function startCell(options: CellOptions = {}): Promise<TestCell> {
  const folder = await mkdtemp(join(tmpdir(), "skerry-api-"));
  const authority = await temporaryAuthority(trustDomain);
  const errors: LoggedError[] = [];
  const log = collectingLog(errors);
  const ledger = openSqliteLedger({
    path: join(folder, "ledger.db"),
    clock: systemClock,
    random: systemRandom,
    log,
    bookmarkMs: 200,
  });
  const plain = createLedgerResources({ ledger, clock: systemClock, random: systemRandom });
  await ensureNamespaces(plain);
  const resources = options.resources?.(plain) ?? plain;
  const api = createApiServer(
    {
      resources,
      kinds,
      authorize,
      podLogs: options.podLogs ?? noLogs,
      clock: systemClock,
      log,
      authenticate: authenticator(authority),
    },
    { credentials: await servingCredentials(authority), ...options.api },
  );
  const dispose = async () => {
    await api.close();
    await ledger.close();
    await rm(folder, { recursive: true, force: true });
  };
  const at = await api
    .listen({ host: "127.0.0.1", port: options.port ?? 0 })
    .catch(async (error: unknown) => {
      await dispose();
      throw error;
    });
  return {
    ...at,
    authority,
    ledger,
    resources: plain,
    api,
    folder,
    errors,
    credentials: (role, name) => authority.issueCredentials(spiffeId(trustDomain, role, name)),
    [Symbol.asyncDispose]: dispose,
  };
}

export function authenticator(authority: Authority) {
  return (socket: Parameters<typeof verifyPeer>[0]) => {
    const verdict = verifyPeer(socket, [authority.trust], Date.now());
    return verdict.ok ? verdict.subject : undefined;
  };
}

export async function servingCredentials(authority: Authority) {
  const keyPem = generateKeyPem();
  const names = { dns: [serverName], ips: ["127.0.0.1"] };
  const cert = await authority.issueServing(await createRequest(keyPem), names);
  return { key: keyPem, cert, ca: [...authority.trust.anchorsPem] };
}

export function collectingLog(errors: LoggedError[]): Log {
  const log: Log = {
    debug() {},
    info() {},
    warn() {},
    error: (message, fields) => void errors.push({ message, error: fields?.["error"] }),
    child: () => log,
  };
  return log;
}

/* Plain HTTPS */

export type Answer = {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
  readonly json: Record<string, unknown>;
};

export type Ask = {
  readonly method?: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
};

export type Client = {
  ask(path: string, options?: Ask): Promise<Answer>;
  /** The response as it comes. */
  open(path: string, options?: Ask): Promise<IncomingMessage>;
};

/** A client with these credentials (none: anonymous); every request on a connection of its own. */
export function clientOf(
  cell: Pick<TestCell, "host" | "port" | "authority">,
  credentials?: Credentials,
): Client {
  const open = (path: string, { method = "GET", body, headers = {} }: Ask = {}) =>
    new Promise<IncomingMessage>((resolve, reject) => {
      const payload =
        body === undefined || typeof body === "string" || body instanceof Uint8Array
          ? body
          : JSON.stringify(body);
      const request = httpsRequest(
        {
          host: cell.host,
          port: cell.port,
          path,
          method,
          agent: false,
          servername: serverName,
          ca: [...cell.authority.trust.anchorsPem],
          ...(credentials && { key: credentials.keyPem, cert: credentials.chainPem }),
          headers: {
            ...(payload === undefined
              ? {}
              : { "Content-Type": "application/json", ...lengthUnlessChunked(payload, headers) }),
            ...headers,
          },
        },
        resolve,
      );
      request.on("error", reject);
      request.end(payload);
    });
  return {
    open,
    async ask(path, options) {
      const response = await open(path, options);
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      const text = Buffer.concat(chunks).toString();
      const isJson = response.headers["content-type"]?.startsWith("application/json") ?? false;
      const json = isJson && !text.includes("}\n{") ? JSON.parse(text || "{}") : {};
      return { status: response.statusCode ?? 0, headers: response.headers, text, json };
    },
  };
}

/** Node's client frames the body of a DELETE only when it is told its length. */
const lengthUnlessChunked = (payload: string | Uint8Array, headers: Record<string, string>) =>
  "Transfer-Encoding" in headers ? {} : { "Content-Length": String(Buffer.byteLength(payload)) };

export const adminOf = async (cell: TestCell) =>
  clientOf(cell, await cell.credentials("user", "admin"));

/** Frames of a watch, one JSON object a line, as they come. */
export async function* framesOf(
  response: AsyncIterable<Uint8Array>,
): AsyncGenerator<{ type: string; object: KubeObject & Record<string, unknown> }> {
  let rest = "";
  for await (const chunk of response) {
    const lines = (rest + Buffer.from(chunk).toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line !== "") yield JSON.parse(line);
  }
}

/* kubectl */

export type KubectlResult = { code: number; stdout: string; stderr: string };

export type KubectlOptions = {
  /** For its standard input. */
  readonly input?: string;
  /** What `kubectl edit` runs on the file. */
  readonly editor?: string;
};

export type Kubectl = {
  /** Path of its kubeconfig. */
  readonly kubeconfig: string;
  /** Minor version of the client: 20 for Debian 12's, 32, ... */
  readonly minor: number;
  /** Runs to its end, at most 90 s. */
  run(args: readonly string[], options?: KubectlOptions): Promise<KubectlResult>;
  /** As `run`, and fails the test with kubectl's own words unless it exits 0. */
  ok(args: readonly string[], options?: KubectlOptions): Promise<string>;
  start(args: readonly string[]): ChildProcess & { output: () => string };
};

const kubectlLimitMs = 90_000;

/** kubectl with a kubeconfig of `user/admin` and a cache folder inside the cell's. */
export async function kubectlFor(
  cell: TestCell,
  at: { host: string; port: number } = cell,
): Promise<Kubectl> {
  const command = process.env["KUBECTL"] ?? "kubectl";
  const credentials = await cell.credentials("user", "admin");
  const config = join(cell.folder, `kubeconfig-${at.port}`);
  await writeFile(
    config,
    renderKubeconfig({
      cell: "cell-t",
      server: `https://${at.host}:${at.port}`,
      caPem: cell.authority.trust.anchorsPem.join("\n"),
      certPem: credentials.chainPem,
      keyPem: credentials.keyPem,
      tlsServerName: serverName,
    }),
    { mode: 0o600 },
  );
  const common = ["--kubeconfig", config, "--cache-dir", join(cell.folder, "kubectl-cache")];
  const env = { PATH: process.env["PATH"] ?? "", HOME: cell.folder };

  const run: Kubectl["run"] = (args, { input, editor } = {}) =>
    new Promise((resolve, reject) => {
      const child = execFile(
        command,
        [...common, ...args],
        {
          env: { ...env, ...(editor === undefined ? {} : { KUBE_EDITOR: editor }) },
          timeout: kubectlLimitMs,
          maxBuffer: 16 * 1024 * 1024,
        },
        (error, stdout, stderr) => {
          if (error && "code" in error && error.code === "ENOENT") {
            reject(new Error("kubectl is missing; install it: apt-get install kubernetes-client"));
            return;
          }
          resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr });
        },
      );
      child.stdin?.end(input ?? "");
    });

  const version = JSON.parse((await run(["version", "--client", "-o", "json"])).stdout);
  return {
    kubeconfig: config,
    minor: Number.parseInt(String(version.clientVersion.minor), 10),
    run,
    async ok(args, options) {
      const { code, stdout, stderr } = await run(args, options);
      if (code === 0) return stdout;
      throw new Error(`kubectl ${args.join(" ")} exited ${code}: ${stderr || stdout}`);
    },
    start(args) {
      const child = spawn(command, [...common, ...args], {
        env,
        stdio: ["ignore", "pipe", "pipe"],
      });
      let text = "";
      for (const stream of [child.stdout, child.stderr]) {
        stream.on("data", (chunk: Buffer) => {
          text += chunk.toString();
        });
      }
      return Object.assign(child, { output: () => text });
    },
  };
}
