/** What servers say to each other about the ledger's members, and why a server's ledger refuses. */
import type { Handover } from "../identity/index.ts";
import type { EtcdEndpoint, EtcdTimers } from "../ledger/index.ts";
import { SkerryError } from "../lib/errors.ts";
import { etcdFiles } from "./etcd-files.ts";

/** What a server gives a node that becomes one: over their link, once. */
export type JoinRequest = {
  readonly handover: Handover;
  readonly memberId: string;
  readonly token: string;
  /** All members, the new one included. */
  readonly members: readonly { readonly name: string; readonly peerUrl: string }[];
  readonly endpoints: readonly EtcdEndpoint[];
  readonly epoch: string;
  /** What the others run with. */
  readonly timers?: EtcdTimers;
  /** Where the cell is enrolled. */
  readonly hub?: string;
};

/** Thrown by every call until the engine is open. */
export const noQuorumYet = () =>
  new SkerryError({
    code: "quorum-lost",
    message: "this server waits for a majority of the cell's servers",
    hint: "workloads, local data and ingress go on; skerry status names the servers that do not answer",
    retryable: true,
  });

export const dataLost = (node: string, dataDir: string) =>
  new SkerryError({
    code: "ledger-data-lost",
    message: `${node} is a member of the ledger, but ${etcdFiles(dataDir).folder} does not hold its data`,
    hint: `bring the folder back, or on another server: skerry server replace ${node}`,
    retryable: true,
  });

export const notMember = (node: string) =>
  new SkerryError({
    code: "member-refused",
    message: `${node} has no vote in the ledger yet`,
    hint: "look again: skerry server list",
    retryable: true,
  });
