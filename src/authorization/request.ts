/** What somebody wants to do with the API, and what storage holds about it. Plain data. */
import type { KubeObject } from "../api/index.ts";

export type Verb =
  | "get"
  | "list"
  | "watch"
  | "create"
  | "update"
  | "patch"
  | "delete"
  | "deletecollection";

/** The change that a patch asks for, before anybody applied it. */
export type PatchBody =
  | { readonly type: "merge" | "strategic" | "apply"; readonly body: unknown }
  | { readonly type: "json"; readonly body: readonly unknown[] };

export type AccessRequest = {
  /** One of `Verb`; any other word is allowed to administrators only. */
  readonly verb: string;
  /** "" for the core group. */
  readonly group: string;
  /** Plural, lower case: `pods`. */
  readonly resource: string;
  readonly subresource?: string;
  readonly namespace?: string;
  readonly name?: string;
  /** The body of a create or update. */
  readonly object?: KubeObject;
  readonly patch?: PatchBody;
  readonly gracePeriodSeconds?: number;
};

/**
 * What storage holds now: never taken from the request, else a node could claim another's pod by
 * saying so.
 */
export type StoredFacts = {
  /** The object that the request names. */
  readonly stored?: KubeObject;
  /** The pod that an Event in the request is about. */
  readonly involvedPod?: KubeObject;
};

export type Decision =
  | { readonly state: "allow" }
  /** `reason` says who may not do what, for a person to read. */
  | { readonly state: "deny"; readonly reason: string };
