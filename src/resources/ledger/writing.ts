/**
 * Carries decisions out: read, decide, write on condition that nothing moved meanwhile, else look
 * again. An unknown outcome is passed on and never tried again.
 */
import {
  namespaceKind,
  type KindDefinition,
  type KubeObject,
  type ObjectKey,
} from "../../api/index.ts";
import type { Condition, KeyValue, Ledger, Operation } from "../../ledger/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { WriteOptions, WriteResult } from "../resources.ts";
import { modifiedMessage, refused, type Decision } from "./decide.ts";
import type { Expiry } from "./expiry.ts";
import { decodeObject, encodeObject, keyOf, objectBytesMax, withVersion } from "./storage.ts";

/** Looks again this often before it tells the caller about the conflict. */
const attemptsMax = 16;

type Options = Pick<WriteOptions, "dryRun" | "signal">;
export type Deps = { readonly ledger: Ledger; readonly expiry: Expiry };

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
  const conditions = [unchanged];
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
      return "again";
    default:
      return outcome satisfies never;
  }
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
  { ledger, expiry }: Deps,
  kind: KindDefinition,
  conditions: readonly Condition[],
  operation: Operation,
  signal: AbortSignal | undefined,
) {
  try {
    return await ledger.transact(conditions, [operation], { signal });
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
