/** The way of a cell into the fleet: a token of this hub → its key signed → its nodes may link. */
import {
  createCellEnrolment,
  createJoinToken,
  keepOwnCredentials,
  parseTokenRequest,
  spiffeId,
  type Authority,
  type KeyFailure,
  type OwnCredentials,
  type Trust,
} from "../../identity/index.ts";
import { connectLedger, type LedgerThread } from "../../ledger/index.ts";
import { takeOverFleetFiles } from "../fleet-files.ts";
import { openPostgresFleet } from "../fleet-postgres.ts";
import { openFleet, type FleetStore } from "../fleet.ts";
import { openHubAuthority } from "../hub-authority.ts";
import type { CellRegistry } from "../registry.ts";
import type { HubGround } from "../ground.ts";

export type EnrolPath = {
  readonly authority: Authority;
  readonly own: OwnCredentials;
  /** Since when, and why, no cell can enrol or renew. */
  keyFailure(): KeyFailure | undefined;
  readonly registry: CellRegistry;
  /** The hub's own domain, and each enrolled cell's under this hub's anchor. */
  trusts(): readonly Trust[];
  enrol(request: Uint8Array): Promise<Uint8Array>;
  /** Body of `POST /skerry/v1/tokens`. */
  createToken(body: unknown): Promise<{ token: string; expiresAt: string }>;
};

export async function startEnrolPath(
  ground: HubGround,
  deps: {
    /** Holds the fleet's ledger where there is no PostgreSQL. */
    storage: LedgerThread;
    onCells: () => void;
    signal: AbortSignal;
  },
): Promise<EnrolPath> {
  const { clock, random, log, lifecycle, record, dataDir, postgres } = ground;
  const nowMs = () => clock.wallMs();
  const trustDomain = `${record.name}.skerry`;
  const { authority, leavesPath, keyFailure } = await openHubAuthority(ground, trustDomain);
  const own = await lifecycle.start(
    "certificates",
    () =>
      keepOwnCredentials(
        { clock, log, authority },
        {
          subject: spiffeId(trustDomain, "hub", "main"),
          administrator: spiffeId(trustDomain, "user", "admin"),
          names: { dns: [`api.${trustDomain}`], ips: [record.host] },
          ...(leavesPath === undefined ? {} : { keptPath: leavesPath }),
          signal: deps.signal,
        },
      ),
    (part) => part.stop(),
  );
  const trustOf = trustByDomain(authority.trust);
  /** Until the cells change: every connection is judged by all of it. */
  let trusts: readonly Trust[] | undefined;
  const onChange = () => {
    trusts = undefined;
    deps.onCells();
  };
  const { registry, tokens } = await lifecycle.start(
    "fleet",
    async (): Promise<FleetStore> => {
      const fleetDeps = { clock, random, log };
      if (postgres) {
        const hub = { name: record.name, pin: authority.pin };
        return await openPostgresFleet(fleetDeps, { address: postgres, hub, onChange });
      }
      const ledger = await connectLedger(deps.storage, fleetDeps);
      await takeOverFleetFiles(ledger, dataDir);
      return await openFleet(fleetDeps, { ledger, onChange });
    },
    (part) => part.close(),
  );
  return {
    authority,
    own,
    keyFailure,
    registry,
    trusts: () =>
      (trusts ??= [
        authority.trust,
        ...registry.cells().map(({ trustDomain: domain }) => trustOf(domain)),
      ]),
    enrol: createCellEnrolment({
      authority,
      tokens,
      registry,
      random,
      nowMs,
      onJoined: (cell) => registry.enrolled(cell),
    }),
    async createToken(body) {
      const { name, ttlMs } = parseTokenRequest(body);
      const { token, expiresAtMs } = await createJoinToken(
        { random, store: tokens, nowMs },
        {
          cell: record.name,
          pin: authority.pin,
          lifetimeMs: ttlMs,
          ...(name === undefined ? {} : { name }),
        },
      );
      return { token, expiresAt: new Date(expiresAtMs).toISOString() };
    },
  };
}

/**
 * A cell's domain under this hub's anchor: one object for each, since what is read of an anchor is
 * remembered by object, and every certificate of thousands of cells is judged by these.
 */
export function trustByDomain(own: Trust): (trustDomain: string) => Trust {
  const known = new Map<string, Trust>();
  return (trustDomain) => {
    const trust = known.get(trustDomain) ?? { trustDomain, anchorsPem: own.anchorsPem };
    known.set(trustDomain, trust);
    return trust;
  };
}
