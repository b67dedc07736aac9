/**
 * The way of consumer groups of the cell: gateway → entries of this node's store, on condition of a
 * claim in the ledger of this node, or over a link in any server's.
 */
import {
  countCellGroups,
  createCellGroups,
  createGroupRoutes,
  type StreamStore,
} from "../../data/index.ts";
import { groupMethods, groupShare, groupSpace } from "../../ledger/applications/index.ts";
import type { Routes } from "../../runtime/http/index.ts";
import type { Ground } from "../ground.ts";
import { groupLedgerOf } from "../group-ledger.ts";
import { startSpace, type CoordinationDeps } from "./coordination-path.ts";

export async function startCellGroupsPath(
  ground: Ground,
  deps: CoordinationDeps & { store: Pick<StreamStore, "read" | "vector" | "beyond" | "on"> },
): Promise<{ readonly routes: Routes }> {
  const { clock, log, metrics, lifecycle, record } = ground;
  const { store, identity } = deps;
  const coordination = await startSpace(ground, deps, {
    name: "ledger of consumer groups",
    space: groupSpace,
    methods: groupMethods,
    share: groupShare,
    byNode: true,
  });
  const { node } = record;
  const id = `spiffe://${identity.identity.trust.trustDomain}/node/${node}`;
  const { counters, showHeld } = countCellGroups(metrics);
  const groups = await lifecycle.start(
    "consumer groups of the cell",
    () => {
      const ledger = groupLedgerOf(coordination, { node, id });
      return createCellGroups({ store, ledger, clock, log, counters });
    },
    (part) => part.stop(),
  );
  showHeld(() => groups.held());
  const on: StreamStore["on"] = (event, listener) => store.on(event, listener);
  return { routes: createGroupRoutes({ groups, on }, { clock, folder: "cell-groups" }) };
}
