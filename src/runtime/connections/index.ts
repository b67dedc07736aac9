/**
 * Who may be connected to a listener. Up to `connectionsMax` everybody; beyond it the address with the
 * most connections gives up the one that has been idle longest, as nginx reuses its idle connections,
 * so that connections kept open for nothing lock nobody out. Where none is idle a newcomer comes into
 * a small overflow: its listener tells it so in its own protocol, and closes.
 */
import type { Socket } from "node:net";

export type ConnectionGateOptions = {
  readonly connectionsMax: number;
  /** Connections that are about to be told that there are too many. Default 32. */
  readonly overflowMax?: number;
  /**
   * `idle-closed`: closed for a newcomer; `too-many`: could not be let in. Called once for each.
   */
  readonly onRefused: (reason: "idle-closed" | "too-many") => void;
};

/** Sockets may be the raw one or the TLS one on top of it: both stand for the same connection. */
export interface ConnectionGate {
  /** Call when a connection is accepted. False: it is over the limit, and only here to be told. */
  admit(socket: Socket): boolean;
  isOverflow(socket: Socket): boolean;
  /** A connection that is held is never closed for a newcomer. Counts. */
  hold(socket: Socket): void;
  letGo(socket: Socket): void;
  /** How often a connection is held; 0 for one that is idle. */
  holds(socket: Socket): number;
  /** Connections open now, the overflow left out. */
  readonly open: number;
}

type Peer = { readonly address: string; open: number; readonly idle: Set<Connection> };
type Connection = {
  readonly key: string;
  readonly socket: Socket;
  readonly peer: Peer;
  holds: number;
};

export function createConnectionGate(options: ConnectionGateOptions): ConnectionGate {
  const overflowMax = options.overflowMax ?? 32;
  const peerByAddress = new Map<string, Peer>();
  const connectionByKey = new Map<string, Connection>();
  /** The oldest first. */
  const overflow = new Map<string, Socket>();

  const peerOf = (address: string): Peer => {
    const peer = peerByAddress.get(address) ?? { address, open: 0, idle: new Set() };
    peerByAddress.set(address, peer);
    return peer;
  };

  const remove = (connection: Connection) => {
    if (connectionByKey.get(connection.key) !== connection) return;
    connectionByKey.delete(connection.key);
    const { peer } = connection;
    peer.idle.delete(connection);
    peer.open--;
    if (peer.open === 0) peerByAddress.delete(peer.address);
  };

  /** Closes an idle connection of whoever has the most, and no fewer than the newcomer's address. */
  const makeRoom = (address: string): boolean => {
    const own = peerByAddress.get(address);
    let largest = own && own.idle.size > 0 ? own : undefined;
    for (const peer of peerByAddress.values())
      if (peer.idle.size > 0 && peer.open > (largest?.open ?? own?.open ?? 0)) largest = peer;
    const [victim] = largest?.idle ?? [];
    if (!victim) return false;
    remove(victim);
    victim.socket.destroy();
    options.onRefused("idle-closed");
    return true;
  };

  const intoOverflow = (key: string, socket: Socket) => {
    options.onRefused("too-many");
    const [oldest] = overflow;
    if (oldest && overflow.size >= overflowMax) {
      overflow.delete(oldest[0]);
      oldest[1].destroy();
    }
    overflow.set(key, socket);
    socket.once("close", () => {
      if (overflow.get(key) === socket) overflow.delete(key);
    });
  };

  return {
    admit(socket) {
      const { remoteAddress } = socket;
      if (remoteAddress === undefined) {
        // It was reset before anybody could look at it.
        socket.destroy();
        return false;
      }
      const key = keyOf(socket);
      if (connectionByKey.size >= options.connectionsMax && !makeRoom(remoteAddress)) {
        intoOverflow(key, socket);
        return false;
      }
      const peer = peerOf(remoteAddress);
      const connection: Connection = { key, socket, peer, holds: 0 };
      connectionByKey.set(key, connection);
      peer.open++;
      peer.idle.add(connection);
      socket.once("close", () => remove(connection));
      return true;
    },
    isOverflow: (socket) => overflow.has(keyOf(socket)),
    hold(socket) {
      const connection = connectionByKey.get(keyOf(socket));
      if (!connection) return;
      connection.holds++;
      connection.peer.idle.delete(connection);
    },
    letGo(socket) {
      const connection = connectionByKey.get(keyOf(socket));
      if (!connection || connection.holds === 0) return;
      connection.holds--;
      if (connection.holds === 0) connection.peer.idle.add(connection);
    },
    holds: (socket) => connectionByKey.get(keyOf(socket))?.holds ?? 0,
    get open() {
      return connectionByKey.size;
    },
  };
}

/** Of one listener's connections no two have the same. */
const keyOf = ({ remoteAddress, remotePort, localPort }: Socket) =>
  `${remoteAddress}|${remotePort}|${localPort}`;
