import type { Revision } from "../../src/ledger/index.ts";
import { openLedgerResources } from "../support/resources.ts";
import { resourcesContract } from "./resources.ts";

resourcesContract("ledger", async () => {
  const fixture = await openLedgerResources();
  return {
    resources: fixture.resources,
    async compact() {
      const { revision } = await fixture.ledger.status();
      await fixture.ledger.compact(revision as Revision);
    },
    [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose](),
  };
});
