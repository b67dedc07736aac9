/** A way to PostgreSQL that can be cut at the commit of a transaction. */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** `lose-answer`: the commit arrives and its answer does not. `lose-request`: it does not arrive. */
export type CommitFault = "lose-answer" | "lose-request";

export interface PostgresProxy extends AsyncDisposable {
  /** The same database, by this way. */
  url(url: string): string;
  /** Befalls the next commit. `vanish`: nobody answers afterwards until `heal`. */
  atCommit(fault: CommitFault, options?: { vanish: boolean }): void;
  heal(): void;
  /** Commits that a fault befell. */
  readonly faults: number;
}

export async function startPostgresProxy(target: {
  host: string;
  port: number;
}): Promise<PostgresProxy> {
  const sockets = new Set<Socket>();
  let next: { fault: CommitFault; vanish: boolean } | undefined;
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
    const cut = () => {
      if (hasVanished) for (const socket of sockets) socket.destroy();
      client.destroy();
    };
    client.on("data", (bytes: Buffer) => {
      const befalls = bytes.includes("COMMIT\0") ? next : undefined;
      if (befalls) {
        next = undefined;
        faults++;
        hasVanished = befalls.vanish;
        isCut = true;
      }
      if (befalls?.fault === "lose-request") cut();
      else upstream.write(bytes);
    });
    upstream.on("data", (bytes: Buffer) => {
      if (isCut) cut();
      else client.write(bytes);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, target.host, resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: (url) => url.replace(`:${target.port}/`, `:${port}/`),
    atCommit: (fault, { vanish } = { vanish: false }) => void (next = { fault, vanish }),
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
