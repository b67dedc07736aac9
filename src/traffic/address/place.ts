/** Where on this machine an address of the cell belongs. Pure. */
import { BlockList, isIPv4, SocketAddress } from "node:net";

/** A network interface as `ip -json address show` tells it. */
export type Interface = {
  readonly name: string;
  /** Up, and its cable has a signal. */
  readonly up: boolean;
  readonly loopback: boolean;
  readonly mac: string;
  readonly addresses: readonly {
    readonly address: string;
    readonly prefix: number;
    /** Seconds until the kernel removes it; absent: it stays. */
    readonly leftSeconds?: number;
  }[];
};

/** What is given to an interface. */
export type Place = {
  readonly address: string;
  /** Of the address as it is given, which need not be that of the network. */
  readonly prefix: number;
  readonly interface: string;
  readonly mac: string;
  /** Nobody beyond this machine needs to hear of it. */
  readonly loopback: boolean;
};

export type Placed =
  | { readonly ok: true; readonly places: readonly Place[] }
  /** `because` ends a sentence about this node: "eth0 has no signal". */
  | { readonly ok: false; readonly because: string };

/**
 * `addresses` carry their network's prefix. Beside an own address of the same network each is given
 * alone (/32, /128): so it brings no route, is nobody's source, and does not go with the address that
 * was there first. Refused where it is configured for good: it is not ours to take away.
 */
export function placesOf(
  interfaces: readonly Interface[],
  wanted: { readonly addresses: readonly string[]; readonly interface?: string | undefined },
): Placed {
  const places: Place[] = [];
  for (const text of wanted.addresses) {
    const [written = "", bits = ""] = text.split("/");
    const address = asKernelWrites(written);
    const prefix = Number(bits);
    const inNetwork = networkOf(address, prefix);
    const isNear = ({ addresses }: Interface) =>
      addresses.some((own) => own.address !== address && inNetwork(own.address));
    const found =
      wanted.interface === undefined
        ? interfaces.find(isNear)
        : interfaces.find(({ name }) => name === wanted.interface);
    if (!found)
      return {
        ok: false,
        because:
          wanted.interface === undefined
            ? `no interface of it has an address in the network of ${text}; name one in spec.interface`
            : `it has no interface ${wanted.interface}`,
      };
    if (!found.up) return { ok: false, because: `${found.name} is down or has no signal` };
    const fixed = interfaces.find(({ addresses }) =>
      addresses.some((own) => own.address === address && own.leftSeconds === undefined),
    );
    if (fixed)
      return {
        ok: false,
        because: `${address} is configured on its ${fixed.name} for good; remove it there, or give the cell another`,
      };
    places.push({
      address,
      prefix: isNear(found) ? (isIPv4(address) ? 32 : 128) : prefix,
      interface: found.name,
      mac: found.mac,
      loopback: found.loopback,
    });
  }
  return { ok: true, places };
}

/** RFC 5952: lower case, the longest run of zeros left out. */
function asKernelWrites(address: string): string {
  return isIPv4(address) ? address : new SocketAddress({ address, family: "ipv6" }).address;
}

function networkOf(address: string, prefix: number): (other: string) => boolean {
  const family = (text: string) => (isIPv4(text) ? "ipv4" : "ipv6");
  const network = new BlockList();
  network.addSubnet(address, prefix, family(address));
  return (other) => family(other) === family(address) && network.check(other, family(other));
}

/** Reads `ip -json address show`, iproute2 4.13 and newer. Throws on what is not that. */
export function parseInterfaces(text: string): Interface[] {
  const found = JSON.parse(text) as {
    ifname: string;
    flags: string[];
    address?: string;
    addr_info?: { local?: string; prefixlen?: number; valid_life_time?: number }[];
  }[];
  return found.map(({ ifname, flags, address = "", addr_info: infos = [] }) => ({
    name: ifname,
    up: flags.includes("UP") && (flags.includes("LOWER_UP") || flags.includes("LOOPBACK")),
    loopback: flags.includes("LOOPBACK"),
    mac: address,
    addresses: infos.flatMap(({ local, prefixlen = 0, valid_life_time: left }) =>
      local === undefined
        ? []
        : [
            {
              address: local,
              prefix: prefixlen,
              // What stays for ever is written as the greatest number of 32 bits.
              ...(left === undefined || left >= 2 ** 32 - 1 ? {} : { leftSeconds: left }),
            },
          ],
    ),
  }));
}
