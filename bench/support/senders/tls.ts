/** How the plain clients connect: with a certificate of their own, to a server that must show one. */
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";

export type Endpoint = {
  readonly host: string;
  readonly port: number;
  /** The name that the server's certificate carries. */
  readonly serverName: string;
  readonly keyPem: string;
  readonly chainPem: string;
  readonly anchorsPem: readonly string[];
};

export async function dial({ host, port }: Endpoint): Promise<Socket> {
  const socket = connectTcp({ host, port });
  await once(socket, "connect");
  socket.setNoDelay(true);
  return socket;
}

export async function secure(socket: Socket, endpoint: Endpoint): Promise<TLSSocket> {
  const secured = connectTls({
    socket,
    servername: endpoint.serverName,
    key: endpoint.keyPem,
    cert: endpoint.chainPem,
    ca: [...endpoint.anchorsPem],
    minVersion: "TLSv1.3",
  });
  await once(secured, "secureConnect");
  return secured;
}
