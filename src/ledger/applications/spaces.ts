/**
 * Whose keys a caller may ask for: its own as an application, or the documents of a collection with
 * `consistency: strong`; or, as a node, consumer groups of the cell. Each kind of namespace has a part of the ledger, limits and link methods of
 * its own.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { Caller, CoordinationRequest, StreamRequest } from "./coordination.ts";
import { coordinationLimits, type CoordinationLimits } from "./limits.ts";
import {
  applicationOf,
  applicationsPrefix,
  collectionsPrefix,
  groupsPrefix,
  namespaceOf,
  type Namespace,
} from "./namespace.ts";

export type Space = {
  /** Of all its keys in the ledger. */
  readonly prefix: string;
  readonly limits: CoordinationLimits;
  /** Throws what such a caller is told who may not, or whose request has no meaning here. */
  admit(caller: Caller, request: CoordinationRequest | StreamRequest): Namespace;
};

export const applicationSpace: Space = {
  prefix: applicationsPrefix,
  limits: coordinationLimits,
  admit: ({ id }) => namespaceOf(applicationOf(id)),
};

/** What each strong collection may have; docs/data.md lists it. */
export const collectionLimits: CoordinationLimits = {
  ...coordinationLimits,
  of: "a collection with consistency: strong",
  hint: "delete what is not needed; what is large, or grows, belongs in a collection that merges",
  sessions: 0,
  waiters: 0,
};

const collectionRequests: readonly string[] = ["list", "read", "transact", "watch"];

export type CollectionSpaceDeps = {
  /** Whether it is declared, with `consistency: strong`. */
  readonly isStrong: (collection: string) => boolean;
  /** What is wrong with a key, or with a value as bytes; undefined when it is a document's. */
  readonly problemOf: (key: string, value?: Uint8Array) => string | undefined;
  /** What is wrong with what is kept of a write that is done once. */
  readonly receiptProblemOf: (value: Uint8Array) => string | undefined;
};

/** C10: what another node sends is held to the same as what this node writes. */
export function collectionSpace({
  isStrong,
  problemOf,
  receiptProblemOf,
}: CollectionSpaceDeps): Space {
  return {
    prefix: collectionsPrefix,
    limits: collectionLimits,
    admit({ collection = "" }, request) {
      if (!isStrong(collection)) {
        throw new SkerryError({
          code: "collection-unknown",
          message: `collection: there is no collection "${collection.slice(0, 100)}" with consistency: strong`,
          hint: "it was declared a moment ago, or is gone: `kubectl get collections` shows what there is",
        });
      }
      if (!collectionRequests.includes(request.type))
        throw invalid("type", `"${request.type}" is not for documents`);
      if (request.type === "transact") {
        for (const [index, { key, value }] of request.writes.entries()) {
          const bytes = value === null ? undefined : Buffer.from(value, "base64");
          const problem = problemOf(key, bytes);
          if (problem !== undefined) throw invalid(`writes[${index}]`, problem);
        }
        const { once } = request;
        const problem = once && receiptProblemOf(Buffer.from(once.value, "base64"));
        if (problem !== undefined) throw invalid("once.value", problem);
      }
      return namespaceOf(collection, collectionsPrefix);
    },
  };
}

/** Of all consumer groups of the cell together. */
export const groupLimits: CoordinationLimits = {
  ...coordinationLimits,
  of: "consumer groups of the cell",
  hint: "delete groups that nobody reads with: DELETE /v1/streams/STREAM/cell-groups/GROUP",
};

const groupRequests: readonly string[] = [
  ...["session-create", "session-renew", "session-end"],
  ...["claim", "release", "holder", "get", "list", "put", "delete"],
];

/** C11: nodes ask for themselves; callers are what their certificates say. */
export const groupSpace: Space = {
  prefix: groupsPrefix,
  limits: groupLimits,
  admit({ id }, { type }) {
    if (!/^spiffe:\/\/[^/]+\/node\/[^/]+$/.test(id))
      throw new SkerryError({ code: "forbidden", message: `${id} is no node of the cell` });
    if (!groupRequests.includes(type)) throw invalid("type", `"${type}" is not for groups`);
    return namespaceOf("cell", groupsPrefix);
  },
};

const invalid = (field: string, problem: string) =>
  new SkerryError({ code: "invalid-request", message: `${field}: ${problem}` });
