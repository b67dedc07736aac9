/**
 * Where an application's things stand in the ledger. A namespace ends in `/` and its name holds
 * none, so that no key of one can be a key of another.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { ClaimKind } from "./coordination.ts";

/** Keys below this belong to applications. */
export const applicationsPrefix = "apps/";
/** Keys below this are documents of collections with `consistency: strong`. */
export const collectionsPrefix = "collections/";
/** Keys below this are consumer groups of the cell. */
export const groupsPrefix = "groups/";

/** With the longest key it stays below what a ledger takes (1024 characters). */
const applicationCharactersMax = 400;

/**
 * `spiffe://mill.skerry/app/scale-4` is `app:scale-4`. No part of a SPIFFE id holds a colon, so two
 * identities never meet in one name. Throws `forbidden` for who is no application, service account
 * or user.
 */
export function applicationOf(id: string): string {
  const [scheme, empty, , ...path] = id.split("/");
  const application = path.join(":");
  if (
    scheme === "spiffe:" &&
    empty === "" &&
    /^(app|user|ns):[a-z0-9._:-]+$/.test(application) &&
    application.length <= applicationCharactersMax
  )
    return application;
  throw new SkerryError({
    code: "forbidden",
    message: `${id} has no namespace for coordination`,
    hint: "ask with the token of an application, a pod or a user; names of at most 400 characters",
  });
}

export type Namespace = {
  /** Whose it is, for quotas: an application, or a collection. */
  readonly application: string;
  readonly root: string;
  readonly keys: string;
  session(id: string): string;
  /** Of a write that is done once. */
  receipt(id: string): string;
  claim(kind: ClaimKind, name: string): string;
};

export function namespaceOf(application: string, prefix = applicationsPrefix): Namespace {
  const root = `${prefix}${application}/`;
  return {
    application,
    root,
    keys: `${root}keys/`,
    session: (id) => `${root}sessions/${id}`,
    receipt: (id) => `${root}receipts/${id}`,
    claim: (kind, name) => `${root}${kind}s/${name}`,
  };
}

/** Whose a ledger key is, and what it counts as; undefined outside of the prefix. */
export function placeOf(
  key: string,
  prefix: string,
): { application: string; kind: "key" | "session" | "receipt" } | undefined {
  if (!key.startsWith(prefix)) return undefined;
  const [application = "", folder] = key.slice(prefix.length).split("/", 2);
  const kind = folder === "sessions" ? "session" : folder === "receipts" ? "receipt" : "key";
  return { application, kind };
}
