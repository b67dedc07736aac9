/**
 * How a node that is no server any more begins: the last step of its farewell, which `ledger-path.ts`
 * begins and which only a start finishes.
 */
import { dropAuthorities } from "../identity/index.ts";
import { readLedgerRecord } from "../ledger/index.ts";
import { forgetAccess } from "../runtime/local/index.ts";
import type { NodeRecord } from "./config.ts";
import { identityFolder } from "./local.ts";

/**
 * Before anything else of a start: finishes a farewell that was cut short, so that a node that is no
 * server any more does not begin as one. Its etcd is stopped when the keeper is there.
 */
export function finishFarewell(dataDir: string, record: NodeRecord): NodeRecord {
  if (readLedgerRecord(dataDir)?.state !== "leaving") return record;
  dropAuthorities(identityFolder(dataDir));
  forgetAccess(dataDir);
  return { ...record, role: "worker" };
}
