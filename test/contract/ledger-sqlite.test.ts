import { ledgerInFile } from "../support/ledger-fixture.ts";
import { ledgerContract } from "./ledger.ts";

ledgerContract("sqlite", () => ledgerInFile());
