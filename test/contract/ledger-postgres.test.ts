import { after } from "node:test";
import { postgresLedgers } from "../support/ledger-postgres.ts";
import { ledgerContract } from "./ledger.ts";

const ledgers = postgresLedgers({ host: "127.0.71.1" });
after(() => ledgers.stop());

ledgerContract("postgres", () => ledgers.fixture());
