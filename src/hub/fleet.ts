/** The hub's fleet on its ledger: which cells are enrolled, and tokens for others. */
import { createLedgerTokenStore, type TokenStore } from "../identity/index.ts";
import type { Ledger } from "../ledger/index.ts";
import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { openCellRegistry, type CellRegistry } from "./registry.ts";

export type FleetDeps = { readonly clock: Clock; readonly random: Random; readonly log: Log };

export type FleetStore = {
  readonly registry: CellRegistry;
  readonly tokens: TokenStore;
  /** Closes the ledger too. */
  close(): Promise<void>;
};

export async function openFleet(
  deps: FleetDeps,
  { ledger, onChange }: { ledger: Ledger; onChange: () => void },
): Promise<FleetStore> {
  const registry = await openCellRegistry({ ...deps, ledger }, { onChange });
  return {
    registry,
    tokens: createLedgerTokenStore({ ledger, nowMs: () => deps.clock.wallMs() }),
    async close() {
      await registry[Symbol.asyncDispose]();
      await ledger.close();
    },
  };
}
