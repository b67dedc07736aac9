import { switchingOver } from "../support/ledger-conversion.ts";
import { ledgerInFile } from "../support/ledger-fixture.ts";
import { ledgerContract } from "./ledger.ts";

ledgerContract("switching", () => ledgerInFile(switchingOver));
