export { connectLedger } from "./connect.ts";
export { serveLedger, type LedgerEmit } from "./serve.ts";
export type { LedgerMethods, LedgerThread, LedgerThreadEvents } from "./protocol.ts";
