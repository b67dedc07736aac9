/**
 * The authorities of a cell on their way from one server to the next: over a link between two nodes
 * that know each other, to the one that an administrator named, and kept there like the original. Who
 * brings them proves it by them: they must be the key that this node trusts already.
 */
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { SkerryError } from "../../lib/errors.ts";
import {
  ensureDirectory,
  readRecord,
  syncDirectory,
  writeRecord,
} from "../../runtime/files/index.ts";
import { readCertificatesPem } from "../certificates/certificate.ts";
import { publicKeyOf, spkiPin } from "../certificates/keys.ts";
import type { Trust } from "../credentials.ts";
import { authorityPath, type StoredAuthority } from "./authority.ts";
import { ledgerAuthorityPath, type StoredLedgerAuthority } from "./ledger-authority.ts";

/** Plain data with private keys in it: for one link, and never for a log. */
export type Handover = {
  readonly cell: StoredAuthority;
  readonly ledger: StoredLedgerAuthority;
  /** What opens the cell's backups, when there is one yet. */
  readonly recovery?: { readonly secret: string };
};

/** Beside the authorities, and on servers only, as they are. */
export const recoveryKeyPath = (folder: string) => join(folder, "recovery.json");

/** What this server holds. Throws `not-a-server` where there is nothing to hand over. */
export function readHandover(folder: string): Handover {
  const cell = readRecord(authorityPath(folder)) as StoredAuthority | undefined;
  const ledger = readRecord(ledgerAuthorityPath(folder)) as StoredLedgerAuthority | undefined;
  const recovery = readRecord(recoveryKeyPath(folder)) as Handover["recovery"];
  if (cell && ledger) return { cell, ledger, ...(recovery && { recovery }) };
  throw new SkerryError({
    code: "not-a-server",
    message: "this node holds no authority to hand over",
    hint: "ask a server of the cell; skerry status names them",
  });
}

/**
 * Keeps what another server handed over; 0600 and fsynced. Throws `invalid-handover` when it is not
 * the authority of this node's own cell, and changes nothing then.
 */
export function acceptHandover(folder: string, given: Handover, trust: Trust): void {
  const { cell, ledger } = given;
  const problem =
    cell?.trustDomain !== trust.trustDomain || ledger?.trustDomain !== trust.trustDomain
      ? "it is of another cell"
      : !isPair(cell) || !isPair(ledger)
        ? "a key in it does not belong to its certificate"
        : !trust.anchorsPem.flatMap(pinsOf).includes(pinOfKey(cell.keyPem))
          ? "its key is not the one that this node trusts"
          : undefined;
  if (problem !== undefined) {
    throw new SkerryError({
      code: "invalid-handover",
      message: `the authority that was handed over is refused: ${problem}`,
      hint: "only a server of this cell may hand it over; look who sent it",
    });
  }
  ensureDirectory(folder);
  if (typeof given.recovery?.secret === "string")
    writeRecord(recoveryKeyPath(folder), { secret: given.recovery.secret });
  // The ledger's first: a node with the cell's authority counts as a server.
  writeRecord(ledgerAuthorityPath(folder), ledger);
  writeRecord(authorityPath(folder), cell);
}

/** A server that is none any more forgets the keys. */
export function dropAuthorities(folder: string): void {
  if (!existsSync(folder)) return;
  for (const path of [authorityPath, ledgerAuthorityPath, recoveryKeyPath].map((of) => of(folder)))
    rmSync(path, { force: true });
  syncDirectory(folder);
}

const pinsOf = (pem: string) =>
  readCertificatesPem(pem).map(({ publicKey }) =>
    spkiPin(publicKey.export({ type: "spki", format: "der" })),
  );
const pinOfKey = (keyPem: string) => spkiPin(publicKeyOf(keyPem));
const isPair = ({ keyPem, anchorPem }: { keyPem: string; anchorPem: string }) =>
  pinsOf(anchorPem).includes(pinOfKey(keyPem));
