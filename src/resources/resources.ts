/**
 * Typed Kubernetes-shaped objects behind one contract: `ledger/` implements it on the servers,
 * `remote/` over HTTP towards them, `mirror/` wraps either with the last known state on disk. All
 * pass `test/contract/resources.ts`; nothing above may know which it has.
 *
 * Expected outcomes are values; `unknown` means that the write may or may not have happened: read
 * again before deciding. A write is validated against the kind's schema before it reaches storage.
 */
import type { KindDefinition, KubeObject, ObjectKey } from "../api/index.ts";

export type ListOptions = {
  readonly namespace?: string;
  /** Kubernetes selector syntax: `app=web,tier in (a,b),!old`. */
  readonly labelSelector?: string;
  /** `metadata.name=x,spec.nodeName=n1`; the fields each kind declares. */
  readonly fieldSelector?: string;
  readonly limit?: number;
  /** From the previous page. */
  readonly continueToken?: string;
  readonly signal?: AbortSignal;
};

export type ListResult<T> = {
  readonly items: readonly T[];
  readonly resourceVersion: string;
  readonly continueToken?: string;
};

export type WatchEvent<T> =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: T }
  | { readonly type: "BOOKMARK"; readonly resourceVersion: string };

export type WriteOptions = {
  /** Who wrote which field (server-side apply); the user agent when absent. */
  readonly fieldManager?: string;
  readonly dryRun?: boolean;
  /** What a field that the kind does not have means: refused (default), left out and told, left out. */
  readonly fieldValidation?: "strict" | "warn" | "ignore";
  readonly signal?: AbortSignal;
  /**
   * Written only while these other objects stand at these versions (undefined: are not there), in one
   * transaction; else `conflict`. Only the ledger can promise that: over HTTP it is `invalid`.
   */
  readonly onlyWhile?: readonly {
    readonly kind: KindDefinition;
    readonly key: ObjectKey;
    readonly resourceVersion: string | undefined;
  }[];
};

export type WriteRefusal = {
  readonly state: "refused";
  readonly reason: "conflict" | "exists" | "not-found" | "invalid" | "forbidden" | "gone";
  /** Names the field and the value. */
  readonly message: string;
  readonly causes?: readonly { field: string; message: string }[];
};

export type WriteResult<T> =
  /** `warnings`: what was left out, with `fieldValidation: "warn"`. */
  | { readonly state: "done"; readonly object: T; readonly warnings?: readonly string[] }
  | WriteRefusal
  | { readonly state: "unknown"; readonly cause: Error };

/**
 * `status` writes only the status, a write without it all but the status. With `scale`, `update` takes
 * the object and writes only `spec.replicas`, `patch` applies to the Scale view (`scaleOf`); both
 * answer the whole object.
 */
export type Subresource = "status" | "scale";

export type Patch =
  | { readonly type: "merge" | "strategic"; readonly body: unknown }
  | { readonly type: "json"; readonly body: readonly unknown[] }
  | { readonly type: "apply"; readonly body: unknown; readonly force?: boolean };

export type DeleteOptions = WriteOptions & {
  readonly gracePeriodSeconds?: number;
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
  readonly propagationPolicy?: "Background" | "Foreground" | "Orphan";
};

/** Throws `ledger-unavailable` (retryable) when desired state cannot be reached, `compacted` from a watch. */
export interface Resources {
  get<T extends KubeObject>(
    kind: KindDefinition<T>,
    key: ObjectKey,
    options?: { signal?: AbortSignal },
  ): Promise<T | undefined>;
  list<T extends KubeObject>(
    kind: KindDefinition<T>,
    options?: ListOptions,
  ): Promise<ListResult<T>>;
  /** Changes after `resourceVersion` (default: current objects as ADDED first, then a BOOKMARK, then changes). */
  watch<T extends KubeObject>(
    kind: KindDefinition<T>,
    options?: ListOptions & { resourceVersion?: string },
  ): AsyncIterable<WatchEvent<T>>;
  create<T extends KubeObject>(
    kind: KindDefinition<T>,
    object: T,
    options?: WriteOptions,
  ): Promise<WriteResult<T>>;
  /** Replaces; refused with `conflict` unless `metadata.resourceVersion` (when given) is current. */
  update<T extends KubeObject>(
    kind: KindDefinition<T>,
    object: T,
    options?: WriteOptions & { subresource?: Subresource },
  ): Promise<WriteResult<T>>;
  patch<T extends KubeObject>(
    kind: KindDefinition<T>,
    key: ObjectKey,
    patch: Patch,
    options?: WriteOptions & { subresource?: Subresource },
  ): Promise<WriteResult<T>>;
  /** Pods with a grace period get a deletionTimestamp first and go when their node confirms with grace 0. */
  delete<T extends KubeObject>(
    kind: KindDefinition<T>,
    key: ObjectKey,
    options?: DeleteOptions,
  ): Promise<WriteResult<T>>;
}
