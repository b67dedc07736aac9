/** A floating address of the cell on this node: held, announced, given up in time. */
export { startCellAddresses, type CellAddresses } from "./cell-addresses.ts";
export { createHostNetwork, type HostNetwork } from "./host-network.ts";
export { parseInterfaces, placesOf, type Interface, type Place, type Placed } from "./place.ts";
export type { AddressPorts, AddressService, AddressWish } from "./ports.ts";
export { cellAddressLeaseMs } from "./tenant.ts";
