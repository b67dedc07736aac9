/**
 * Carries decisions out: read, decide, write on condition that nothing moved meanwhile, else look
 * again. An unknown outcome is passed on and never tried again. With a fence each write also holds on
 * condition that the fence stands: the writes of somebody who leads no more are refused by the ledger,
 * whatever he believes and however long they were under way.
 */
import {
  namespaceKind,
  type KindDefinition,
  type KubeObject,
  type ObjectKey,
} from "../../api/index.ts";
import type { Condition, KeyValue, Ledger, Operation, Revision } from "../../ledger/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { WriteOptions, WriteRefusal, WriteResult } from "../resources.ts";
import { modifiedMessage, refused, type Decision } from "./decide.ts";
import type { Expiry } from "./expiry.ts";
import {
  decodeObject,
  encodeObject,
  keyOf,
  objectBytesMax,
  parseVersion,
  withVersion,
} from "./storage.ts";

/** Looks again this often before it tells the caller about the conflict. */
const attemptsMax = 16;

type Options = Pick<WriteOptions, "dryRun" | "signal" | "onlyWhile">;

/** The key of an election and the revision at which it was won (`Campaign`). */
export type WriteFence = {
  readonly key: string;
  readonly revision: number;
  /** Called each time a write is refused because the fence does not stand any more. */
  readonly onLost?: (error: SkerryError) => void;
};
export type Deps = {
  readonly ledger: Ledger;
  readonly expiry: Expiry;
  readonly fence?: WriteFence | undefined;
};

/**
 * `decide` gets the object that is there (or undefined) and is asked again when somebody was faster.
 */
export async function modify<T extends KubeObject>(
  deps: Deps,
  kind: KindDefinition<T>,
  key: ObjectKey,
  decide: (live: T | undefined) => Decision,
  options: Options,
): Promise<WriteResult<T>> {
  const { ledger } = deps;
  const path = keyOf(kind as KindDefinition, key);
  if (path === undefined) return notFound(kind as KindDefinition, key.name);
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const { keyValue } = await ledger.get(path, { signal: options.signal });
    const live = keyValue && decodeObject<T>(keyValue);
    const decision = decide(live);
    const result = await carryOut(
      deps,
      kind as KindDefinition,
      key,
      { path, keyValue, decision },
      options,
    );
    if (result !== "again") return result as WriteResult<T>;
  }
  return refused("conflict", modifiedMessage);
}

async function carryOut(
  deps: Deps,
  kind: KindDefinition,
  key: ObjectKey,
  at: { path: string; keyValue: KeyValue | undefined; decision: Decision },
  options: Options,
): Promise<WriteResult<KubeObject> | "again"> {
  const { decision, path, keyValue } = at;
  if (decision.state === "refused") return decision;
  if (decision.state === "keep") return doneWith(decision.object, decision);
  const unchanged: Condition = { key: path, modRevision: keyValue?.modRevision ?? 0 };
  const others = conditionsOf(options.onlyWhile ?? []);
  const conditions = [unchanged, ...others];
  if (decision.state === "write" && !keyValue) {
    const namespace = await namespaceCondition(deps.ledger, kind, key, options.signal);
    if ("state" in namespace) return namespace;
    conditions.push(...namespace.conditions);
  }
  if (options.dryRun) return doneWith(decision.object, decision);
  const operation = await operationOf(deps, kind, path, decision);
  if ("state" in operation) return operation;
  const outcome = await transact(deps, kind, conditions, operation, options.signal);
  if (outcome === "lease gone") return "again";
  switch (outcome.state) {
    case "done":
      return doneWith(withVersion(decision.object, outcome.revision), decision);
    case "unknown":
      return outcome;
    case "refused":
      await checkFence(deps, options.signal);
      return (await moved(deps.ledger, others, options.signal)) ?? "again";
    default:
      return outcome satisfies never;
  }
}

function conditionsOf(onlyWhile: NonNullable<WriteOptions["onlyWhile"]>): Condition[] {
  return onlyWhile.map(({ kind, key, resourceVersion }) => ({
    key: keyOf(kind, key) ?? "",
    modRevision: resourceVersion === undefined ? 0 : parseVersion(resourceVersion),
  }));
}

/** The conflict, when it is one of the other objects that did not stand as the writer said. */
async function moved(
  ledger: Ledger,
  others: readonly Condition[],
  signal: AbortSignal | undefined,
): Promise<WriteRefusal | undefined> {
  for (const { key, modRevision } of others) {
    const { keyValue } = await ledger.get(key, { signal });
    if ((keyValue?.modRevision ?? 0) !== modRevision)
      return refused("conflict", `${key} has changed: this write holds only while it stands`);
  }
  return undefined;
}

/** Throws `leadership-lost` (terminal) when the fence is gone: whoever wrote leads no more. */
async function checkFence({ ledger, fence }: Deps, signal: AbortSignal | undefined): Promise<void> {
  if (!fence) return;
  const { keyValue } = await ledger.get(fence.key, { signal });
  if (keyValue?.modRevision === fence.revision) return;
  const error = new SkerryError({
    code: "leadership-lost",
    message: `the write was refused: ${fence.key} of revision ${fence.revision} stands no more`,
    hint: "another leads by now; this one stops and stands again",
  });
  fence.onLost?.(error);
  throw error;
}

function doneWith(object: KubeObject, decision: Decision): WriteResult<KubeObject> {
  return "warnings" in decision && decision.warnings
    ? { state: "done", object, warnings: decision.warnings }
    : { state: "done", object };
}

async function operationOf(
  { expiry }: Deps,
  kind: KindDefinition,
  path: string,
  decision: Extract<Decision, { state: "write" | "remove" }>,
): Promise<Operation | ReturnType<typeof refused>> {
  if (decision.state === "remove") return { type: "delete", key: path };
  const value = encodeObject(decision.object);
  if (value.length > objectBytesMax) {
    return refused(
      "invalid",
      `the object is ${value.length} bytes long, at most ${objectBytesMax} are allowed`,
    );
  }
  const lease = await expiry.leaseFor(kind);
  return { type: "put", key: path, value, ...(lease === undefined ? {} : { lease }) };
}

async function transact(
  { ledger, expiry, fence }: Deps,
  kind: KindDefinition,
  conditions: readonly Condition[],
  operation: Operation,
  signal: AbortSignal | undefined,
) {
  const fenced = fence
    ? [...conditions, { key: fence.key, modRevision: fence.revision as Revision }]
    : conditions;
  try {
    return await ledger.transact(fenced, [operation], { signal });
  } catch (error) {
    if (!(error instanceof SkerryError) || error.code !== "lease-not-found") throw error;
    expiry.forget(kind);
    return "lease gone" as const;
  }
}

/** Nothing is created in a namespace that is not there, or that is being deleted meanwhile. */
async function namespaceCondition(
  ledger: Ledger,
  kind: KindDefinition,
  { namespace }: ObjectKey,
  signal: AbortSignal | undefined,
): Promise<{ conditions: Condition[] } | ReturnType<typeof refused>> {
  if (!kind.namespaced || namespace === undefined) return { conditions: [] };
  const path = keyOf(namespaceKind as KindDefinition, { name: namespace });
  const { keyValue } = path === undefined ? {} : await ledger.get(path, { signal });
  if (!keyValue) return notFound(namespaceKind as KindDefinition, namespace);
  if (decodeObject(keyValue).metadata.deletionTimestamp) {
    return refused(
      "forbidden",
      `unable to create new content in namespace ${namespace} because it is being terminated`,
    );
  }
  return { conditions: [{ key: keyValue.key, modRevision: keyValue.modRevision }] };
}

export function notFound(kind: KindDefinition, name: string): ReturnType<typeof refused> {
  const qualified = kind.group === "" ? kind.plural : `${kind.plural}.${kind.group}`;
  return refused("not-found", `${qualified} "${name}" not found`);
}
