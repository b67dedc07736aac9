/**
 * The folder of a witness: a bundle that a server of the cell made is all that it starts from, and all
 * that renews it.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { witnessBundleSchema, type WitnessBundle } from "../api/index.ts";
import { SkerryError } from "../lib/errors.ts";
import {
  ensureDirectory,
  readRecord,
  writeFileAtomic,
  writeRecord,
} from "../runtime/files/index.ts";

export const filesOf = (dataDir: string) => {
  const tls = (folder: string) => ({
    cert: join(dataDir, folder, "cert.pem"),
    key: join(dataDir, folder, "key.pem"),
    ca: join(dataDir, folder, "ca.pem"),
  });
  return {
    bundle: join(dataDir, "bundle.json"),
    place: join(dataDir, "witness.json"),
    lock: join(dataDir, "witness.lock"),
    etcd: join(dataDir, "etcd"),
    peerTls: tls("tls"),
    localTls: tls("local"),
  };
};

/** Throws `invalid-bundle` naming what is wrong with it. */
export function readBundle(path: string): WitnessBundle {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new SkerryError({
      code: "invalid-bundle",
      message: `${path} cannot be read`,
      hint: "make one on a server of the cell: skerry server add-witness NAME --address HOST:PORT",
      cause,
    });
  }
  const parsed = witnessBundleSchema.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  throw new SkerryError({
    code: "invalid-bundle",
    message: `${path} is no bundle of a witness: ${z.prettifyError(parsed.error)}`,
    hint: "bring the file as skerry server add-witness wrote it",
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/**
 * Takes a bundle in: the first one, or a renewed one of the same witness, which a running etcd reads
 * without a restart. Throws `witness-foreign`, `invalid-bundle`.
 */
export function adoptBundle(dataDir: string, bundle: WitnessBundle): void {
  const files = filesOf(dataDir);
  const known = readRecord(files.bundle) as WitnessBundle | undefined;
  if (known && (known.token !== bundle.token || known.memberId !== bundle.memberId))
    throw new SkerryError({
      code: "witness-foreign",
      message: `${dataDir} holds the witness ${known.name} of ${known.trustDomain} as another member`,
      hint: "give the new witness a folder of its own, or remove that one if it was taken off its cell",
    });
  ensureDirectory(join(dataDir, "tls"));
  writeTls(files.peerTls, {
    keyPem: bundle.keyPem,
    chainPem: bundle.certPem,
    caPem: bundle.caPem,
  });
  writeRecord(files.bundle, bundle);
}

export function writeTls(
  paths: { cert: string; key: string; ca: string },
  { keyPem, chainPem, caPem }: { keyPem: string; chainPem: string; caPem: string },
): void {
  writeFileAtomic(paths.ca, caPem);
  writeFileAtomic(paths.key, keyPem);
  writeFileAtomic(paths.cert, chainPem);
}

/** The one that was taken in. Throws `not-a-witness`. */
export function readAdopted(dataDir: string): WitnessBundle {
  const bundle = readRecord(filesOf(dataDir).bundle) as WitnessBundle | undefined;
  if (bundle) return bundle;
  throw new SkerryError({
    code: "not-a-witness",
    message: `${dataDir} holds no witness`,
    hint: "start one with its bundle: skerry witness run FILE --data DIR",
  });
}
