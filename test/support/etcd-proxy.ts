/** A link to a member that can be cut in the middle of an answer. */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface CuttingProxy extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** From now on answers are held back, and after so many bytes of requests the connections are cut. */
  cutAfter(requestBytes: number): void;
  readonly cuts: number;
}

export async function startCuttingProxy(target: {
  host: string;
  port: number;
}): Promise<CuttingProxy> {
  const sockets = new Set<Socket>();
  let leftBytes = Infinity;
  let cuts = 0;
  const cut = () => {
    leftBytes = Infinity;
    cuts++;
    for (const socket of sockets) socket.destroy();
  };
  const server = createServer((client) => {
    const upstream = connect(target);
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
      // The request goes on; its answer will not come back.
      upstream.write(bytes, () => {
        leftBytes -= bytes.length;
        if (leftBytes <= 0) cut();
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
    cutAfter(requestBytes) {
      leftBytes = requestBytes;
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
