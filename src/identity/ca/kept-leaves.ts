/** The hub's own leaves on disk, and until when they are good. */
import type { Log } from "../../lib/log.ts";
import { readRecord, writeRecord } from "../../runtime/files/index.ts";
import { readCertificatesPem } from "../certificates/certificate.ts";
import { verifyCertificates, verifyServing } from "../certificates/verify-chain.ts";
import type { Credentials, Trust } from "../credentials.ts";
import type { Subject } from "../spiffe.ts";
import type { ServingNames } from "./authority.ts";

export type Leaves = {
  readonly identity: Credentials;
  readonly serving: Credentials;
  /** Of who administers it from its own machine. */
  readonly administrator: Credentials;
};

/** Whose leaves, and under which names they serve. */
export type LeavesFor = {
  readonly subject: Subject;
  readonly administrator: Subject;
  readonly names: ServingNames;
};

/** Undefined where there are none that are good now for all of this. */
export function readKeptLeaves(
  deps: { log: Log; nowMs: number },
  path: string,
  wanted: LeavesFor & { trust: Trust },
): Leaves | undefined {
  try {
    const leaves = readRecord(path) as Leaves | undefined;
    return leaves && leavesUntil(leaves, wanted, deps.nowMs) !== undefined ? leaves : undefined;
  } catch (error) {
    deps.log.warn("kept certificates cannot be read: made anew", { path, error });
    return undefined;
  }
}

/** They are good for this process all the same when the disk is full. */
export function keepLeaves(deps: { log: Log }, path: string, leaves: Leaves): void {
  try {
    writeRecord(path, leaves);
  } catch (error) {
    deps.log.warn("own certificates are not kept: the next start needs the authority's key", {
      path,
      error,
    });
  }
}

/** When the first of them ends; undefined when one is not good for what is wanted. */
export function leavesUntil(
  leaves: Leaves,
  { trust, subject, administrator, names }: LeavesFor & { trust: Trust },
  nowMs: number,
): number | undefined {
  const ofSubject = ({ chainPem }: Credentials, { id }: Subject) => {
    const verdict = verifyCertificates(readCertificatesPem(chainPem), trust, nowMs);
    return verdict.ok && verdict.subject.id === id ? verdict.untilMs : undefined;
  };
  const serving = readCertificatesPem(leaves.serving.chainPem);
  const untilMs = [
    ofSubject(leaves.identity, subject),
    ofSubject(leaves.administrator, administrator),
    ...[...(names.dns ?? []), ...(names.ips ?? [])].map((host) => {
      const verdict = verifyServing(serving, trust, nowMs, { host });
      return verdict.ok ? verdict.untilMs : undefined;
    }),
  ];
  const known = untilMs.filter((one) => one !== undefined);
  return known.length === untilMs.length ? Math.min(...known) : undefined;
}
