/** Cells enrolled at a hub by its own enrolment, before it runs; each with one identity a node. */
import { join } from "node:path";
import { openFleetLedger } from "../../src/hub/fleet-ledger.ts";
import { openFleet } from "../../src/hub/fleet.ts";
import {
  acceptCellAnswer,
  cellRequest,
  createAuthority,
  createCellEnrolment,
  createJoinToken,
  spiffeId,
  type Authority,
} from "../../src/identity/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock as clock, systemRandom as random } from "../../src/runtime/clock/index.ts";
import type { Credentials } from "../../src/transport/index.ts";

export type EnrolledCell = { readonly name: string; readonly credentials: readonly Credentials[] };

export async function enrolCells(
  hub: { readonly dataDir: string; readonly name: string },
  wanted: { readonly folder: string; readonly cells: number; readonly nodesPerCell: number },
): Promise<{ authority: Authority; cells: EnrolledCell[] }> {
  const { dataDir, name: hubName } = hub;
  const nowMs = () => clock.wallMs();
  const deps = { random, nowMs };
  const authority = await createAuthority(deps, {
    folder: join(dataDir, "identity"),
    trustDomain: `${hubName}.skerry`,
  });
  const fleetDeps = { clock, random, log: silentLog };
  const ledger = openFleetLedger(fleetDeps, dataDir);
  const fleet = await openFleet(fleetDeps, { ledger, onChange: () => {} });
  const { registry, tokens } = fleet;
  const answer = createCellEnrolment({
    ...{ authority, tokens, registry, random, nowMs },
    onJoined: (cell) => registry.enrolled(cell),
  });
  const cells: EnrolledCell[] = [];
  for (let at = 0; at < wanted.cells; at++) {
    const name = `cell-${at}`;
    const trustDomain = `${name}.skerry`;
    const folder = join(wanted.folder, name);
    const cell = await createAuthority(deps, { folder, trustDomain });
    const { token } = await createJoinToken(
      { random, store: tokens, nowMs },
      { cell: hubName, pin: authority.pin, lifetimeMs: 3_600_000 },
    );
    acceptCellAnswer(cell, await answer(await cellRequest(cell, { token })));
    const credentials: Credentials[] = [];
    for (let node = 1; node <= wanted.nodesPerCell; node++)
      credentials.push(await cell.issueCredentials(spiffeId(trustDomain, "node", `n${node}`)));
    cells.push({ name, credentials });
  }
  await fleet.close();
  return { authority, cells };
}
