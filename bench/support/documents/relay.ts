/** Stands between two processes and counts what passes, both ways; the same for every contestant. */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { host } from "./protocol.ts";

export type Relay = AsyncDisposable & { readonly port: number; readonly bytes: number };

export async function startRelay(to: number): Promise<Relay> {
  let bytes = 0;
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect({ host, port: to });
    for (const [a, b] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(a);
      a.setNoDelay(true);
      a.on("data", (chunk: Buffer) => (bytes += chunk.length));
      a.pipe(b);
      a.on("error", () => b.destroy());
      a.on("close", () => sockets.delete(a));
    }
  });
  server.listen(0, host);
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    get bytes() {
      return bytes;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
