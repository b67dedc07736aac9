/**
 * An audit of this node's store against those of other nodes and the hub's copy: name by name, all
 * stores scanned at once, then each held against this one. Nothing of the cell goes to the hub but
 * names, and places in what the hub told of itself or was let out to it.
 */
import type { EgressPolicy } from "../../api/records/index.ts";
import type { Clock } from "../../lib/clock.ts";
import { encodeError, SkerryError } from "../../lib/errors.ts";
import { compareDocuments, compareLogs, type Scanned } from "./compare.ts";
import { worstOf, type AuditEvent, type Compared } from "./report.ts";
import type { AuditKind, AuditLook, AuditName, AuditSide } from "./sides.ts";

export type AuditPartner = {
  /** Of a node, or `hub`. */
  readonly name: string;
  /** Undefined: there is no link to it now. */
  readonly side: AuditSide | undefined;
};

export const hubName = "hub";

export type AuditDeps = {
  readonly own: { readonly node: string; readonly side: AuditSide };
  readonly partners: () => readonly AuditPartner[];
  /** What of it the hub has: undefined nothing; without a policy, what it was given from there. */
  readonly atHub: (name: AuditName) => { readonly policy?: EgressPolicy } | undefined;
  readonly clock: Clock;
};

export type AuditRequest = {
  /** Collections and streams. Absent: all. */
  readonly names?: readonly string[];
  /** Nodes, or `hub`. Absent: all. */
  readonly with?: readonly string[];
};

const pollMs = 100;

/** Throws `invalid-query`; what keeps a comparison from an end is told as `undecided`. */
export async function runAudit(
  deps: AuditDeps,
  request: AuditRequest,
  options: { signal: AbortSignal; onEvent: (event: AuditEvent) => void },
): Promise<void> {
  const partners = partnersOf(deps, request);
  const names = await namesOf(deps, partners, request);
  const states: Compared["state"][] = [];
  for (const name of names) {
    const tell = (compared: Compared) => {
      states.push(compared.state);
      options.onEvent({ event: "compared", ...compared });
    };
    const isHub = (partner: AuditPartner) => partner.name === hubName;
    const nodes = partners.filter((partner) => !isHub(partner));
    if (nodes.length > 0) await compareWith(deps, { name, partners: nodes, tell }, options);
    const left = deps.atHub(name);
    const hubs = partners.filter(isHub);
    if (left && hubs.length > 0)
      await compareWith(deps, { name, partners: hubs, tell, ...left }, options);
  }
  options.onEvent({ event: "end", state: worstOf(states) });
}

function partnersOf(deps: AuditDeps, { with: wanted }: AuditRequest): readonly AuditPartner[] {
  const known = deps.partners();
  const unknown = wanted?.find((name) => !known.some((partner) => partner.name === name));
  if (unknown === undefined)
    return known.filter(({ name }) => wanted === undefined || wanted.includes(name));
  throw new SkerryError({
    code: "invalid-query",
    message: `with: there is no "${unknown}" to compare with`,
    hint: `there are ${known.map(({ name }) => name).join(", ") || "none"}`,
  });
}

/** Of all stores: what one of them lost altogether is a difference as well. */
async function namesOf(
  { own, atHub }: AuditDeps,
  partners: readonly AuditPartner[],
  request: AuditRequest,
): Promise<readonly AuditName[]> {
  const sides = [own.side, ...partners.flatMap(({ side }) => side ?? [])];
  const told = await Promise.allSettled(sides.map((side) => side.names({})));
  const found = new Map<string, AuditName>();
  for (const result of told) {
    if (result.status === "rejected") continue;
    for (const kind of ["collection", "stream"] as const)
      for (const name of result.value[kind]) found.set(`${kind} ${name}`, { kind, name });
  }
  const onlyHub = partners.every(({ name }) => name === hubName);
  const all = [...found.values()].filter((name) => !onlyHub || atHub(name) !== undefined);
  const { names } = request;
  const unknown = names?.find((wanted) => !all.some(({ name }) => name === wanted));
  if (unknown !== undefined) {
    throw new SkerryError({
      code: "invalid-query",
      message: `names: "${unknown}" is neither a collection nor a stream with anything to compare`,
      hint: `there are ${all.map(({ name }) => name).join(", ") || "none"}`,
    });
  }
  return all
    .filter(({ name }) => names === undefined || names.includes(name))
    .toSorted((a, b) => (`${a.kind} ${a.name}` < `${b.kind} ${b.name}` ? -1 : 1));
}

async function compareWith(
  { own, clock }: AuditDeps,
  what: {
    name: AuditName;
    partners: readonly AuditPartner[];
    policy?: EgressPolicy;
    tell: (compared: Compared) => void;
  },
  { signal, onEvent }: { signal: AbortSignal; onEvent: (event: AuditEvent) => void },
): Promise<void> {
  const { name, partners, policy, tell } = what;
  const scans = [{ name: own.node, side: own.side }, ...partners].map(
    ({ name: store, side }): Opened => ({ store, side, problem: side ? undefined : noLink }),
  );
  const [mine, ...others] = scans;
  const each = async (ask: (opened: Opened, side: AuditSide) => Promise<void>) => {
    const asked = scans.map(async (opened) => {
      if (!opened.side || opened.problem !== undefined) return;
      try {
        await ask(opened, opened.side);
      } catch (error) {
        opened.problem = wordsOf(error);
      }
    });
    await Promise.all(asked);
  };
  try {
    await each(async (opened, side) => {
      const narrowed = opened === mine && policy ? { policy } : {};
      opened.scan = (await side.open({ ...name, ...narrowed })).scan;
    });
    // Those that have ended are asked as well: a scan that nobody asks for is forgotten.
    for (let isScanning = true; isScanning;) {
      signal.throwIfAborted();
      isScanning = false;
      await each(async (opened, side) => {
        const look = await side.look({ scan: opened.scan ?? "" });
        opened.look = look;
        if (look.state === "absent") opened.problem = look.reason;
        if (look.state !== "scanning") return;
        isScanning = true;
        const { seen, of } = look;
        onEvent({ event: "progress", ...name, store: opened.store, seen, of });
      });
      if (isScanning) await clock.sleep(pollMs, { signal });
    }
    for (const other of others) {
      const [here, there] = [mine && scannedOf(mine), scannedOf(other)];
      const items = here?.look.items ?? 0;
      const told = { ...name, with: other.store, items };
      try {
        if (!here || !there) {
          const [stuck] = [mine, other].filter((opened) => opened?.problem !== undefined);
          throw new Error(`${stuck?.store}: ${stuck?.problem}`);
        }
        tell({ ...told, ...(await compare({ clock }, name.kind, { here, there }, signal)) });
      } catch (error) {
        signal.throwIfAborted();
        const nothing = { differences: [], more: false };
        tell({ ...told, state: "undecided", ...nothing, reason: wordsOf(error) });
      }
    }
  } finally {
    // A side that is gone forgets by itself.
    await Promise.allSettled(
      scans.map(({ side, scan }) => (scan === undefined ? undefined : side?.forget({ scan }))),
    );
  }
}

const noLink = "there is no link to it now";

type Opened = {
  readonly store: string;
  readonly side: AuditSide | undefined;
  /** Why there is nothing of it to compare. */
  problem: string | undefined;
  scan?: string;
  look?: AuditLook;
};

function scannedOf({ store, side, scan, look, problem }: Opened): Scanned | undefined {
  return side && scan !== undefined && look?.state === "scanned" && problem === undefined
    ? { store, side, scan, look }
    : undefined;
}

const compare = (
  deps: { clock: Clock },
  kind: AuditKind,
  pair: { here: Scanned; there: Scanned },
  signal: AbortSignal,
) =>
  kind === "collection"
    ? compareDocuments(deps, pair, { signal })
    : compareLogs(pair, { signal, isHub: pair.there.store === hubName });

const wordsOf = (error: unknown): string => {
  const { code, message } = encodeError(error);
  return code === "unknown-method" ? "it runs a version that cannot be compared yet" : message;
};
