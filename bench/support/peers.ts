/** Mosquitto and JetStream as they come from Debian, with mTLS and their data on this disk. */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  createAuthority,
  createRequest,
  generateKeyPem,
  spiffeId,
} from "../../src/identity/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { CannotRun } from "./bench.ts";
import { createJetStream } from "./senders/nats.ts";
import { leaveSubscription } from "./senders/mqtt.ts";
import type { Endpoint } from "./senders/tls.ts";
import { startServer } from "./servers.ts";

const serverName = "peer.bench.skerry";
const leaderMs = 10_000;

/** Throws CannotRun naming the Debian packages of programs that are missing. */
export function requirePrograms(packageByProgram: Readonly<Record<string, string>>): void {
  const missing = Object.entries(packageByProgram).filter(
    // Mosquitto knows no flag that ends with 0; that it starts at all is enough.
    ([program]) => spawnSync(program, ["-h"], { stdio: "ignore" }).error !== undefined,
  );
  if (missing.length === 0) return;
  const names = missing.map(([program]) => program).join(" and ");
  throw new CannotRun(
    `${names} not found; install with: apt-get install -y ${missing.map(([, name]) => name).join(" ")}`,
  );
}

export type PeerIdentity = {
  /** Paths of PEM files for a server of `serverName`. */
  readonly files: { readonly key: string; readonly chain: string; readonly anchors: string };
  endpoint(host: string, port: number): Endpoint;
};

/** One authority for both sides, with the same kind of keys as Skerry's own. */
export async function createPeerIdentity(folder: string): Promise<PeerIdentity> {
  mkdirSync(folder, { recursive: true });
  const authority = await createAuthority(
    { random: systemRandom, nowMs: () => systemClock.wallMs() },
    { folder, trustDomain: "bench.skerry" },
  );
  const client = await authority.issueCredentials(spiffeId("bench.skerry", "app", "bench"));
  const keyPem = generateKeyPem();
  const chainPem = await authority.issueServing(await createRequest(keyPem), { dns: [serverName] });
  const { anchorsPem } = authority.trust;
  const write = (name: string, content: string) => {
    const path = join(folder, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };
  return {
    files: {
      key: write("server.key", keyPem),
      chain: write("server.pem", chainPem),
      anchors: write("anchors.pem", anchorsPem.join("\n")),
    },
    endpoint: (host, port) => ({ host, port, serverName, ...client, anchorsPem }),
  };
}

/** A peer of one turn: started empty, stopped when disposed. */
export type Peer = AsyncDisposable & { readonly endpoint: Endpoint };

/** One subscriber that is away wants everything at QoS 1, so that Mosquitto has to keep it. */
export async function startMosquitto(
  options: { folder: string; host: string; topic: string },
  identity: PeerIdentity,
): Promise<Peer> {
  const { folder, host } = options;
  const port = 8883;
  mkdirSync(folder, { recursive: true });
  const path = join(folder, "mosquitto.conf");
  writeFileSync(
    path,
    [
      `listener ${port} ${host}`,
      `cafile ${identity.files.anchors}`,
      `certfile ${identity.files.chain}`,
      `keyfile ${identity.files.key}`,
      "require_certificate true",
      "allow_anonymous true",
      "persistence true",
      `persistence_location ${folder}/`,
      "max_queued_messages 0",
      "max_inflight_messages 0",
      "set_tcp_nodelay true",
      // It gives up root for a user who cannot read the folder otherwise.
      `user ${process.env["USER"] ?? "root"}`,
      "log_dest stderr",
      "log_type error",
      "",
    ].join("\n"),
  );
  const server = await startServer("mosquitto", ["-c", path], { host, port });
  const endpoint = identity.endpoint(host, port);
  await leaveSubscription(endpoint, options.topic);
  return { ...server, endpoint };
}

/**
 * One server, or a cluster of as many as there are hosts, with as many replicas. Clients come with
 * mTLS; between the servers of a cluster nothing is encrypted, which is to its advantage. `isSynced`:
 * what it writes is on the disk before the write returns, and so before it acknowledges.
 */
export async function startJetStream(
  options: { folder: string; hosts: readonly string[]; isSynced?: boolean },
  identity: PeerIdentity,
): Promise<Peer> {
  const { folder, hosts } = options;
  const [port, routePort] = [4222, 6222];
  await using stack = new AsyncDisposableStack();
  const { files } = identity;
  const tls = `{ cert_file: "${files.chain}", key_file: "${files.key}", ca_file: "${files.anchors}", verify: true }`;
  for (const [index, host] of hosts.entries()) {
    const store = join(folder, host);
    mkdirSync(store, { recursive: true });
    if (options.isSynced) writeSynchronously(store);
    const path = join(store, "nats.conf");
    const routes = hosts.map((other) => `"nats://${other}:${routePort}"`).join(", ");
    const cluster =
      hosts.length === 1
        ? ""
        : `cluster { name: bench, listen: "${host}:${routePort}", routes: [${routes}] }`;
    writeFileSync(
      path,
      `server_name: n${index + 1}\nlisten: "${host}:${port}"\njetstream { store_dir: "${store}" }\ntls ${tls}\n${cluster}\n`,
    );
    stack.use(await startServer("nats-server", ["-c", path], { host, port }));
  }
  const endpoint = identity.endpoint(hosts[0] ?? "", port);
  const untilMs = performance.now() + leaderMs;
  for (;;) {
    try {
      await createJetStream(endpoint, { replicas: hosts.length });
      break;
    } catch (error) {
      if (performance.now() > untilMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  const kept = stack.move();
  return { endpoint, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** Of everything that is made in this folder (`chattr`, `S`). Throws CannotRun where its file system knows no such files. */
function writeSynchronously(folder: string): void {
  const { status, stderr, error } = spawnSync("chattr", ["+S", folder], { encoding: "utf8" });
  if (status === 0) return;
  throw new CannotRun(
    `files in ${folder} cannot be made synchronous (${error?.message ?? stderr.trim()}); set TMPDIR to a folder on ext4`,
  );
}
