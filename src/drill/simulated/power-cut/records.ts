/** The parts that are small files: identity, the cell's time, epochs, records. */
import { join } from "node:path";
import {
  createAuthority,
  createJoinToken,
  createLedgerTokenStore,
  createNodeEnrolment,
  openAuthority,
  openCellTime,
  openNodeIdentity,
  prepareJoin,
} from "../../../identity/index.ts";
import type { WallMs } from "../../../lib/brand.ts";
import { openSqliteLedger } from "../../../ledger/index.ts";
import { nextEpoch } from "../../../ingest/index.ts";
import {
  ensureDirectory,
  readRecord,
  writeRecord,
  writeRecordAsync,
} from "../../../runtime/files/index.ts";
import { deps, few, type Part } from "./part.ts";

const nowMs = () => deps.clock.wallMs();
const authorityDeps = { random: deps.random, nowMs };

/* Identity: what a node was given last is what it has, and its cell's key is the same. */

type Leaf = { readonly pin: string; readonly leaf: string };

export const identityPart: Part = {
  name: "identity",
  async write({ folder, more, acknowledge }) {
    const path = join(folder, "identity");
    const authority =
      openAuthority(authorityDeps, path) ??
      (await createAuthority(authorityDeps, { folder: path, trustDomain: "cell-a.skerry" }));
    const ledger = openSqliteLedger({ ...deps, path: join(folder, "tokens.db") });
    const tokens = createLedgerTokenStore({ ledger, nowMs });
    const enrol = createNodeEnrolment({ authority, tokens, nowMs });
    const said = (identity: ReturnType<typeof openNodeIdentity>) =>
      acknowledge({ pin: authority.pin, leaf: leafText(identity) } satisfies Leaf);
    if (openNodeIdentity(path) === undefined) {
      const { token } = await createJoinToken(
        { random: deps.random, store: tokens, nowMs },
        { cell: "cell-a", pin: authority.pin, name: "n1" },
      );
      const joining = await prepareJoin({ folder: path, token, node: "n1", addresses: [] });
      joining.accept(await enrol(joining.request));
      said(openNodeIdentity(path));
    }
    while (more()) {
      const identity = openNodeIdentity(path);
      const renewal = await identity?.prepareRenewal();
      if (!renewal) throw new Error("the identity has gone");
      renewal.accept(await enrol(renewal.request));
      said(identity);
    }
  },
  async check(folder, acknowledged) {
    const path = join(folder, "identity");
    const given = acknowledged as readonly Leaf[];
    const last = given.at(-1);
    const identity = openNodeIdentity(path);
    const authority = openAuthority(authorityDeps, path);
    if (!last) return [];
    const earlier = new Set(given.slice(0, -1).map(({ leaf }) => leaf));
    return [
      ...(authority?.pin === last.pin ? [] : ["the authority is not the one that was founded"]),
      ...(identity === undefined ? ["the node's identity is lost"] : []),
      ...(earlier.has(leafText(identity)) ? ["the node has an earlier leaf again"] : []),
    ];
  },
};

const leafText = (identity: { readonly leaf: Uint8Array } | undefined) =>
  identity === undefined ? "" : Buffer.from(identity.leaf).toString("base64");

/* The cell's time never goes back behind what was kept. */

export const timePart: Part = {
  name: "time",
  async write({ folder, life, more, acknowledge }) {
    ensureDirectory(join(folder, "time"));
    for (let round = 0; more(); round++) {
      const time = openCellTime(deps, { folder: join(folder, "time") });
      // Ahead of the host's clock, or the clock would hide what is lost.
      const aheadMs = nowMs() + (life * 1000 + round) * 3_600_000;
      time.raiseTo(aheadMs);
      time.close();
      acknowledge(aheadMs);
      await deps.clock.sleep(1);
    }
  },
  async check(folder, acknowledged) {
    const last = Math.max(0, ...(acknowledged as readonly number[]));
    if (last === 0) return [];
    const time = openCellTime(deps, { folder: join(folder, "time") });
    const foundMs = time.nowMs();
    time.close();
    return foundMs >= last ? [] : [`time went back by ${last - foundMs} ms`];
  },
};

/* Producer epochs never repeat, also where the clock helps nobody. */

export const epochPart: Part = {
  name: "epochs",
  async write({ folder, more, acknowledge }) {
    while (more()) {
      acknowledge(nextEpoch(noClock, join(folder, "telemetry.epoch")));
      await deps.clock.sleep(1);
    }
  },
  async check(folder, acknowledged) {
    const last = Math.max(0, ...(acknowledged as readonly number[]));
    const next = nextEpoch(noClock, join(folder, "telemetry.epoch"));
    return next > last ? [] : [`epoch ${next} after ${last}`];
  },
};

const noClock = { ...deps, clock: { ...deps.clock, wallMs: () => 0 as WallMs } };

/* Records as node.json and start.json are written, over and over, and the keeper's, one a container. */

type Version = { readonly record: string; readonly version: number };
const rewritten = "node.json";

export const recordsPart: Part = {
  name: "records",
  async write({ folder, life, random, more, acknowledge }) {
    ensureDirectory(join(folder, "keeper"));
    for (let version = life * 1_000_000; more(); version++) {
      for (const record of [rewritten, `keeper/container-${version}`]) {
        const value = { version, filler: "y".repeat(random.integer(9000)) };
        if (version % 2 === 0) writeRecord(join(folder, record), value);
        else await writeRecordAsync(join(folder, record), value);
        acknowledge({ record, version } satisfies Version);
      }
      await deps.clock.sleep(1);
    }
  },
  async check(folder, acknowledged) {
    const lastByName = new Map(
      (acknowledged as readonly Version[]).map(({ record, version }) => [record, version]),
    );
    const wrong = [...lastByName].flatMap(([name, last]) => {
      const found = readRecord(join(folder, name)) as { version: number } | undefined;
      return found && found.version >= last
        ? []
        : [`${name} is version ${found?.version}, written was ${last}`];
    });
    return few(wrong);
  },
};
