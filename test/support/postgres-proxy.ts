/** A way to PostgreSQL that can be cut at the commit of a transaction. */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/**
 * `lose-answer`: the commit arrives and its answer does not. `lose-request`: it does not arrive.
 * `vanish`: as `lose-answer`, and nobody answers afterwards until `heal`.
 */
export type CommitFault = "lose-answer" | "lose-request" | "vanish";

export interface PostgresProxy extends AsyncDisposable {
  /** The same database, by this way. */
  url(url: string): string;
  /** Befalls the next commit. */
  atCommit(fault: CommitFault): void;
  heal(): void;
  /** Commits that a fault befell. */
  readonly faults: number;
}

export async function startPostgresProxy(target: {
  host: string;
  port: number;
}): Promise<PostgresProxy> {
  const sockets = new Set<Socket>();
  let next: CommitFault | undefined;
  let hasVanished = false;
  let faults = 0;
  const server = createServer((client) => {
    if (hasVanished) {
      client.destroy();
      return;
    }
    const upstream = connect(target);
    let isCut = false;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (bytes: Buffer) => {
      const fault = bytes.includes("COMMIT\0") ? next : undefined;
      if (fault === undefined) {
        upstream.write(bytes);
        return;
      }
      next = undefined;
      faults++;
      if (fault === "lose-request") {
        upstream.destroy();
        return;
      }
      isCut = true;
      hasVanished = fault === "vanish";
      upstream.write(bytes);
    });
    upstream.on("data", (bytes: Buffer) => {
      if (!isCut) client.write(bytes);
      else if (hasVanished) for (const socket of sockets) socket.destroy();
      else client.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, target.host, resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: (url) => url.replace(`:${target.port}/`, `:${port}/`),
    atCommit: (fault) => void (next = fault),
    heal: () => void (hasVanished = false),
    get faults() {
      return faults;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
