/** What the etcd engine takes and gives. Types only: they cost nobody gRPC. */
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import type { Epoch, Ledger, Revision } from "../ledger.ts";
import type { Retention } from "../retention.ts";

export type EtcdDeps = { readonly clock: Clock; readonly random: Random; readonly log: Log };

/** Where a member serves clients. */
export type EtcdEndpoint = { readonly name: string; readonly host: string; readonly port: number };

export type EtcdCredentials = {
  /** PKCS #8. */
  readonly keyPem: string;
  readonly certPem: string;
  /** The anchor of the ledger authority. */
  readonly caPem: string;
};

export type EtcdConnectOptions = {
  /** Asked with every call, so it answers from memory; the first is the local one, preferred while it answers. */
  readonly members: () => readonly EtcdEndpoint[];
  /** Asked with every call, so it answers from memory; a change makes new connections. */
  readonly credentials: () => EtcdCredentials;
  /** The DNS name in every member's certificate. */
  readonly serverName: string;
  /** Members that serve no clients: of them only is known whether they answer. Default none. */
  readonly witnesses?: () => readonly EtcdWitness[];
};

/** A member that votes and serves nobody. */
export type EtcdWitness = {
  readonly name: string;
  /** Decimal. */
  readonly id: string;
  readonly peerUrl: string;
  readonly isLearner: boolean;
};

export type EtcdLedgerOptions = EtcdConnectOptions & {
  /** Unique among the cell's servers and the same after a restart: the node's name. */
  readonly name: string;
  /** The members' `--quota-backend-bytes`; see `EtcdMemberOptions.quotaBytes`. */
  readonly quotaBytes?: number;
  /** A transaction, read or lease call gives up after this. Default 5 s. */
  readonly timeoutMs?: number;
  readonly retention?: Partial<Retention>;
  /**
   * What history a cluster without one begins with; a cluster that has one keeps its own. Default:
   * a new epoch at revision 0. A ledger converted from another engine goes on after its last revision.
   */
  readonly initial?: { readonly epoch?: Epoch; readonly revision: Revision };
};

export interface EtcdLedger extends Ledger {
  readonly cluster: EtcdCluster;
  /**
   * A new epoch, whose revisions begin 2^32 further on: after a restored snapshot or a forced new
   * cluster, before anybody else uses it. Everybody's watches end with `compacted`, and every
   * transaction that was prepared against the old history is refused. Throws `ledger-unavailable`.
   */
  rewriteHistory(): Promise<{ epoch: Epoch; revision: Revision }>;
}

/** Ids are decimal: they exceed what a JavaScript number holds. */
export type EtcdMember = {
  readonly id: string;
  /** Empty until it has started for the first time. */
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
  readonly isLearner: boolean;
};

export type EtcdMemberStatus =
  | {
      readonly state: "answers";
      /** As in `EtcdConnectOptions.members`. */
      readonly name: string;
      readonly id: string;
      readonly clusterId: string;
      readonly version: string;
      /** Undefined: it knows of none. */
      readonly leaderId: string | undefined;
      readonly isLearner: boolean;
      readonly raftTerm: number;
      readonly raftIndex: number;
      readonly raftAppliedIndex: number;
      /** etcd's own revision, without the ledger's base. */
      readonly etcdRevision: number;
      readonly dbBytes: number;
      readonly dbBytesInUse: number;
      readonly errors: readonly string[];
      /**
       * It answered as a peer does: who leads and the term are what the others say, its own figures
       * (index, revision, sizes) are not known and 0.
       */
      readonly isWitness?: true;
    }
  | { readonly state: "unreachable"; readonly name: string; readonly error: Error };

export type AnsweringMember = EtcdMemberStatus & { readonly state: "answers" };

export type EtcdAlarm = { readonly memberId: string; readonly alarm: "no-space" | "corrupt" };

/**
 * The members of a cluster. Calls throw `ledger-unavailable` (nothing is known to have changed: look
 * again), or what is named.
 */
export interface EtcdCluster {
  members(): Promise<readonly EtcdMember[]>;
  /** Adds a member that has no vote yet. Throws `member-refused` (the message is etcd's). */
  addLearner(peerUrls: readonly string[]): Promise<EtcdMember>;
  /** Gives a learner its vote, when it has caught up. Throws `member-not-found`, `member-refused`. */
  promote(id: string): Promise<{ readonly state: "promoted" | "not-in-sync" }>;
  /** Throws `member-not-found`, `member-refused` (quorum would be lost). */
  remove(id: string): Promise<void>;
  /** Throws `member-not-found`, `member-refused`. */
  updatePeers(id: string, peerUrls: readonly string[]): Promise<void>;
  /** Throws `member-not-found`, `member-refused`. */
  moveLeader(toId: string): Promise<void>;
  /** Of each of `options.members()` and witnesses, at the same time; a silent one costs `timeoutMs` (default 1 s). */
  status(options?: { timeoutMs?: number }): Promise<readonly EtcdMemberStatus[]>;
  alarms(): Promise<readonly EtcdAlarm[]>;
  disarm(alarm: EtcdAlarm): Promise<void>;
  /** Gives the free pages of one member's file back; it answers nobody meanwhile. */
  defragment(name: string): Promise<void>;
  /** Of all keys at one etcd revision (default: the member's newest): equal on all members, or one is corrupt. */
  hashKv(name: string, etcdRevision?: number): Promise<{ hash: number; compactRevision: number }>;
}
