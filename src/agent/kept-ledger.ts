/**
 * What stands on this node's disk about its member of the ledger (`ledger.json`), the commit point of
 * every change: what is kept here holds, whatever etcd was doing.
 */
import {
  readLedgerRecord,
  removeLedgerRecord,
  writeLedgerRecord,
  type EtcdEndpoint,
  type EtcdTimers,
  type EtcdWitness,
  type LedgerRecord,
} from "../ledger/index.ts";

export type KeptLedger = {
  /** Undefined: this server's ledger is SQLite, or it is no server. */
  record(): LedgerRecord | undefined;
  keep(next: LedgerRecord): void;
  forget(): void;
  /** For the member's next start. */
  keepTimers(timers: EtcdTimers): void;
  /** Takes in where members serve clients, so that a cold start finds them. */
  learnEndpoints(endpoints: readonly EtcdEndpoint[]): void;
  /** Members that serve no clients, as last seen. */
  witnesses(): readonly EtcdWitness[];
  learnWitnesses(witnesses: readonly EtcdWitness[]): void;
};

export function openKeptLedger(dataDir: string): KeptLedger {
  let record = readLedgerRecord(dataDir);
  const keep = (next: LedgerRecord) => {
    writeLedgerRecord(dataDir, next);
    record = next;
  };
  return {
    record: () => record,
    keep,
    forget() {
      removeLedgerRecord(dataDir);
      record = undefined;
    },
    keepTimers(timers) {
      if (record) keep({ ...record, timers: { ...timers } });
    },
    learnEndpoints(endpoints) {
      if (!record || endpoints.length === 0) return;
      if (JSON.stringify(endpoints) === JSON.stringify(record.endpoints)) return;
      keep({ ...record, endpoints: [...endpoints] });
    },
    witnesses: () => record?.witnesses ?? [],
    learnWitnesses(witnesses) {
      if (!record || JSON.stringify(witnesses) === JSON.stringify(record.witnesses ?? [])) return;
      keep({ ...record, witnesses: [...witnesses] });
    },
  };
}
