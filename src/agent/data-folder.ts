/** Where things stand in a node's data folder (docs/architecture.md lists it whole). */
import { join } from "node:path";

export const agentLogPath = (dataDir: string) => join(dataDir, "logs", "agent.log");

/** The ledger of a cell with one server. */
export const ledgerFile = (dataDir: string) => join(dataDir, "ledger.db");

export const identityFolder = (dataDir: string) => join(dataDir, "identity");

/** Which history of the cell holds, once one was rewritten. */
export const historyPath = (dataDir: string) => join(dataDir, "history.json");

/** Where this node keeps sealed backups. */
export const backupsFolder = (dataDir: string) => join(dataDir, "backups");

/** The routes of its ingress as they were last. */
export const routesPath = (dataDir: string) => join(dataDir, "routes.json");
