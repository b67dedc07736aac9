/**
 * What the machines of a drill's site stand on: loopback addresses of this machine, or, when root,
 * a network namespace for each, where a link can be cut for real.
 */
import type { SkerryError } from "../../lib/errors.ts";

/** `hub`, `n1`, `n2`, …; `observer` is where the drill, its load and its checkers run. */
export type MachineName = string;

export type Network = {
  hostOf(machine: MachineName): string;
  /** The command line that runs a command line on that machine. */
  on(machine: MachineName, argv: readonly string[]): readonly string[];
  /** Every process on that machine; undefined where machines share one network. */
  pidsOn?(machine: MachineName): readonly number[];
  /** Path of the machine's network namespace; undefined where machines share one network. */
  namespaceOf?(machine: MachineName): string;
  /** Absent where a link cannot be cut without somebody being told. */
  readonly links?: Links;
};

/** Silence in both directions: nothing is closed, reset or refused. */
export type Links = {
  cut(machine: MachineName): Promise<void>;
  heal(machine: MachineName): Promise<void>;
};

/** Why there are no namespaces, with the line that mends it. */
export type Unavailable = { readonly state: "unavailable"; readonly reason: SkerryError };

const octets: Readonly<Record<MachineName, number>> = { observer: 9, hub: 10 };

/** The last part of a machine's address: n1 is 11. */
export function lastOctet(machine: MachineName): number {
  return octets[machine] ?? 10 + Number(machine.slice(1));
}

/** `subnet` is the third octet of 127.0.N.x, so that several sites fit one machine. */
export function loopbackNetwork(subnet: number): Network {
  return {
    hostOf: (machine) => `127.0.${subnet}.${lastOctet(machine)}`,
    on: (_machine, argv) => argv,
  };
}
