/** A link to a member that can be cut in the middle of an answer. */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface CuttingProxy extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /**
   * From now on answers are held back, and after so many bytes of requests the connections are cut.
   * `nextBytes`: so is the connection that comes then, after so many bytes of its own.
   */
  cutAfter(requestBytes: number, options?: { nextBytes?: number }): void;
  readonly cuts: number;
}

export async function startCuttingProxy(target: {
  host: string;
  port: number;
}): Promise<CuttingProxy> {
  const sockets = new Set<Socket>();
  let leftBytes = Infinity;
  /** Of the connection that comes after a cut. */
  let nextBytes = Infinity;
  let cuts = 0;
  const cut = () => {
    leftBytes = Infinity;
    cuts++;
    for (const socket of sockets) socket.destroy();
  };
  const server = createServer((client) => {
    const upstream = connect(target);
    let ownLeftBytes = leftBytes === Infinity ? nextBytes : Infinity;
    if (leftBytes === Infinity) nextBytes = Infinity;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        ownLeftBytes = Infinity;
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (bytes: Buffer) => {
      // The request goes on; its answer will not come back.
      upstream.write(bytes, () => {
        leftBytes -= bytes.length;
        ownLeftBytes -= bytes.length;
        if (leftBytes <= 0 || ownLeftBytes <= 0) cut();
      });
    });
    upstream.on("data", (bytes: Buffer) => {
      if (leftBytes === Infinity) client.write(bytes);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, target.host, resolve));
  return {
    host: target.host,
    port: (server.address() as AddressInfo).port,
    cutAfter(requestBytes, options = {}) {
      leftBytes = requestBytes;
      nextBytes = options.nextBytes ?? Infinity;
    },
    get cuts() {
      return cuts;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
