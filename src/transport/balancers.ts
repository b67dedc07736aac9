/**
 * A port behind balancers that pass TCP through: every connection begins with a PROXY header
 * (`proxy-header.ts`) from an address that may say who others are. What follows it is handed on as if
 * it had come from the client itself.
 */
import { BlockList, isIP, type Socket } from "node:net";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Audit } from "./audit.ts";
import { parseProxyHeader, withoutMapping, type ProxySource } from "./proxy-header.ts";

/** Whether this address may say who others are. */
export type Balancers = (address: string) => boolean;

const headerMs = 10_000;

/** From IP addresses and networks (`192.0.2.7`, `2001:db8::/64`) with commas between. Throws `invalid-config`. */
export function parseBalancers(text: string): Balancers {
  const list = new BlockList();
  for (const part of text.split(",").map((word) => word.trim())) {
    const [, address = "", bits] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(part) ?? [];
    const version = isIP(address);
    const width = version === 4 ? 32 : 128;
    if (version === 0 || Number(bits ?? 0) > width)
      throw new SkerryError({
        code: "invalid-config",
        message: `proxyProtocol: "${part}" is no IP address or network`,
        hint: "name the balancers by addresses or networks with commas between: 192.0.2.7,198.51.100.0/24",
      });
    list.addSubnet(address, Number(bits ?? width), version === 4 ? "ipv4" : "ipv6");
  }
  return (given) => {
    const address = withoutMapping(given);
    return list.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
  };
}

export interface Front {
  /** A connection of which nothing was read. */
  accept(socket: Socket): void;
  /** The address of the client behind this connection, once its header was read. */
  clientOf(socket: Socket): string | undefined;
  /** From here on the addresses of `socket`, the TLS within such a connection, are the client's. */
  showClient(socket: Socket): void;
}

/** `onConnection` gets a socket whose next byte is the client's first. */
export function createFront(
  deps: { clock: Clock; log: Log; audit: Audit },
  options: { balancers: Balancers; onConnection: (socket: Socket) => void },
): Front {
  const { clock, log, audit } = deps;
  /** By the balancer's end of the connection, which no other one has at that time. */
  const sourceByEnd = new Map<string, ProxySource>();
  const endOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress}|${remotePort}`;

  const accept = (socket: Socket) => {
    const { remoteAddress: remote = "" } = socket;
    socket.on("error", (error) => log.debug("connection broke", { error }));
    const refuse = (reason: string, why: string, hint: string) => {
      audit.refused(reason, { remote, why, hint });
      socket.destroy();
    };
    if (!options.balancers(remote))
      return refuse(
        "not-a-balancer",
        "connections come by the balancers that --proxy-protocol names only",
        "connect to the address of the balancer; or is this one missing in --proxy-protocol?",
      );
    let held: Buffer = Buffer.alloc(0);
    const timer = clock.after(headerMs, () =>
      refuse(
        "proxy-header",
        `nothing behind a PROXY header within ${headerMs} ms`,
        "does it pass TCP through?",
      ),
    );
    socket.once("close", () => timer.cancel());
    const read = () => {
      const bytes = socket.read() as Buffer | null;
      if (bytes === null) return;
      held = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
      const header = parseProxyHeader(held);
      // A health check says no more than that it is one: there is nobody to judge then.
      const isWaiting = header.state === "read" && held.length === header.length;
      if (header.state === "short" || isWaiting) return;
      timer.cancel();
      socket.off("readable", read);
      if (header.state === "refused") return refuse("proxy-header", header.why, header.hint);
      if (header.source) {
        const end = endOf(socket);
        sourceByEnd.set(end, header.source);
        socket.once("close", () => sourceByEnd.delete(end));
      }
      socket.unshift(held.subarray(header.length));
      options.onConnection(socket);
    };
    socket.on("readable", read);
  };

  return {
    accept,
    clientOf: (socket) => sourceByEnd.get(endOf(socket))?.address,
    showClient(socket) {
      const source = sourceByEnd.get(endOf(socket));
      if (!source) return;
      Object.defineProperties(socket, {
        remoteAddress: { value: source.address },
        remotePort: { value: source.port },
        remoteFamily: { value: isIP(source.address) === 6 ? "IPv6" : "IPv4" },
      });
    },
  };
}
