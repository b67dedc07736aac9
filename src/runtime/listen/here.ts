/** Which addresses are this machine's now. */
import { isIPv4 } from "node:net";
import { networkInterfaces } from "node:os";

const unspecified = new Set(["0.0.0.0", "::"]);

/** Of its interfaces, loopback and link-local ones left out: where others may reach it. */
export function addressesHere(): readonly string[] {
  return Object.values(networkInterfaces())
    .flatMap((all) => all ?? [])
    .filter(({ internal, address }) => !internal && !/^(?:169\.254\.|fe80:)/i.test(address))
    .map(({ address }) => address);
}

/** Whether `host` is an address that packets to this machine may carry; all of 127.0.0.0/8 is. */
export function isAddressHere(host: string): boolean {
  if (unspecified.has(host) || (isIPv4(host) && host.startsWith("127."))) return true;
  return Object.values(networkInterfaces()).some((all) =>
    all?.some(({ address }) => address === host),
  );
}
