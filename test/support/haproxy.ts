/** A real HAProxy, from Debian's package: passes TCP through with PROXY protocol version 2, or ends TLS. */
import { spawn, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { freePorts } from "./etcd.ts";
import { waitFor } from "./wait.ts";

export type Haproxy = AsyncDisposable & { readonly host: string; readonly port: number };

const timeoutMs = 30_000;

/**
 * In front of these servers (HOST:PORT), of which the first that lives gets everything; it speaks to
 * them from `host`, too. Throws with the line that installs it when there is none here.
 */
export async function startHaproxy(options: {
  host: string;
  folder: string;
  servers: readonly string[];
  /** Certificate and key, PEM: it ends TLS with it, and begins it anew towards the servers. */
  ownPem?: string;
}): Promise<Haproxy> {
  const { host, folder, servers, ownPem } = options;
  const pemPath = join(folder, "haproxy.pem");
  if (ownPem !== undefined) writeFileSync(pemPath, ownPem);
  const toServer =
    ownPem === undefined ? "send-proxy-v2 check check-send-proxy inter 200ms" : "ssl verify none";
  const path = `${process.env["PATH"]}:/usr/sbin`;
  if (spawnSync("haproxy", ["-v"], { env: { PATH: path } }).error)
    throw new Error("there is no HAProxy here: apt-get install haproxy");
  const [port] = await freePorts(host);
  const configPath = join(folder, "haproxy.cfg");
  const lines = servers.map(
    (address, index) =>
      `  server s${index} ${address} source ${host} ${toServer}${index > 0 ? " backup" : ""}`,
  );
  writeFileSync(
    configPath,
    `defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
  timeout check 5s
  option redispatch 1
listen hub
  bind ${host}:${port}${ownPem === undefined ? "" : ` ssl crt ${pemPath}`}
${lines.join("\n")}
`,
  );
  const child = spawn("haproxy", ["-db", "-f", configPath], {
    env: { PATH: path },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-4000);
  });
  const onExit = () => void child.kill("SIGKILL");
  process.once("exit", onExit);
  const answers = () =>
    new Promise<boolean>((resolve) => {
      const socket = connect({ host, port });
      socket.once("connect", () => {
        socket.destroy();
        resolve(true);
      });
      socket.once("error", () => resolve(false));
    });
  await waitFor(
    async () => {
      if (child.exitCode !== null) throw new Error(`HAProxy ended: ${said}`);
      return await answers();
    },
    { timeoutMs, what: "HAProxy to answer" },
  );
  return {
    host,
    port,
    async [Symbol.asyncDispose]() {
      const gone = new Promise((resolve) => child.once("exit", resolve));
      if (child.exitCode === null && child.signalCode === null) {
        child.kill("SIGKILL");
        await gone;
      }
      process.off("exit", onExit);
    },
  };
}
