/**
 * Resources on the ledger: the implementation on the servers. resourceVersion is the revision of the
 * last write; every write holds on condition that the object is the one that was looked at.
 */
import {
  apiVersionOf,
  builtInNamespaces,
  dnsSubdomainProblem,
  namespaceKind,
  type KindDefinition,
  type KubeObject,
  type ObjectKey,
} from "../../api/index.ts";
import type { Ledger } from "../../ledger/index.ts";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { nameSuffix, uuid, type Random } from "../../lib/random.ts";
import type { Resources, Subresource, WriteOptions, WriteResult } from "../resources.ts";
import {
  decideCreate,
  decideDelete,
  decideUpdate,
  refused,
  type Decision,
  type Writer,
} from "./decide.ts";
import { createExpiry } from "./expiry.ts";
import { decideApply, decidePatch, decideScale } from "./patching.ts";
import { getObject, listObjects, watchObjects } from "./reading.ts";
import { createSharedDecode, type SharedDecode } from "./shared.ts";
import { modify, notFound, type WriteFence } from "./writing.ts";

export type { WriteFence } from "./writing.ts";

export type LedgerResourcesDeps = {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly random: Random;
  /**
   * Every write holds only while this stands; one that is refused for it throws `leadership-lost`
   * (terminal). For whoever must be alone in writing: the controllers of a cell.
   */
  readonly fence?: WriteFence;
};

export type LedgerResources = Resources & {
  /** The same objects, decoded once for both, with every write on condition of `fence`. */
  fenced(fence: WriteFence): Resources;
};

/** Generated names that were taken already are drawn anew this often, as in Kubernetes. */
const generatedNamesMax = 8;
const unnamedManager = "unknown";

export function createLedgerResources(deps: LedgerResourcesDeps): LedgerResources {
  const decode = createSharedDecode();
  return {
    ...resourcesOf(deps, decode),
    fenced: (fence) => resourcesOf({ ...deps, fence }, decode),
  };
}

function resourcesOf(deps: LedgerResourcesDeps, decode: SharedDecode): Resources {
  const { ledger, clock, random, fence } = deps;
  const reading = { ledger, decode };
  const writing = { ledger, expiry: createExpiry({ ledger, clock }), fence };

  const writerOf = (options: WriteOptions & { subresource?: Subresource } = {}): Writer => ({
    manager: options.fieldManager || unnamedManager,
    subresource: options.subresource,
    fieldValidation: options.fieldValidation,
    nowMs: clock.wallMs(),
    managed: "tracked",
  });

  const createNamed = <T extends KubeObject>(
    kind: KindDefinition<T>,
    object: KubeObject,
    options: WriteOptions,
  ) =>
    modify<T>(
      writing,
      kind,
      object.metadata,
      (live) =>
        live
          ? refused("exists", `${kind.plural} "${object.metadata.name}" already exists`)
          : decideCreate(kind as KindDefinition, object, {
              ...writerOf(options),
              uid: uuid(random),
            }),
      options,
    );

  return {
    get: (kind, key, options = {}) => getObject(ledger, kind, key, options.signal),
    list: (kind, options = {}) => listObjects(reading, kind, options),
    watch: (kind, options = {}) => watchObjects(reading, kind, options),

    async create<T extends KubeObject>(
      kind: KindDefinition<T>,
      given: T,
      options: WriteOptions = {},
    ): Promise<WriteResult<T>> {
      const object: KubeObject = { ...given, metadata: { ...given.metadata } };
      const problem = identified(kind as KindDefinition, object);
      if (problem) return problem;
      const { name, generateName } = object.metadata;
      if (name) return await createNamed(kind, object, options);
      for (let attempt = 1; ; attempt++) {
        const generated = `${(generateName ?? "").slice(0, 58)}${nameSuffix(random)}`;
        const named = { ...object, metadata: { ...object.metadata, name: generated } };
        const result = await createNamed(kind, named, options);
        const taken = result.state === "refused" && result.reason === "exists";
        if (!taken || attempt >= generatedNamesMax) return result;
      }
    },

    async update<T extends KubeObject>(
      kind: KindDefinition<T>,
      object: T,
      options: WriteOptions & { subresource?: Subresource } = {},
    ): Promise<WriteResult<T>> {
      const plain = kind as KindDefinition;
      const problem = missingSubresource(plain, options.subresource);
      if (problem) return problem;
      const writer = writerOf(options);
      const decide = (live: T | undefined): Decision => {
        if (!live) return notFound(plain, object.metadata.name);
        return options.subresource === "scale"
          ? decideScale(plain, live, object, writer)
          : decideUpdate(plain, live, object, writer);
      };
      return await modify(writing, kind, object.metadata, decide, options);
    },

    async patch<T extends KubeObject>(
      kind: KindDefinition<T>,
      key: ObjectKey,
      patch: Parameters<Resources["patch"]>[2],
      options: WriteOptions & { subresource?: Subresource } = {},
    ): Promise<WriteResult<T>> {
      const plain = kind as KindDefinition;
      const problem = missingSubresource(plain, options.subresource);
      if (problem) return problem;
      if (patch.type === "apply" && !options.fieldManager) {
        return refused("invalid", "fieldManager: is required by an apply", [
          { field: "fieldManager", message: "is required by an apply" },
        ]);
      }
      const writer = writerOf(options);
      const decide = (live: T | undefined): Decision => {
        if (patch.type === "apply" && options.subresource !== "scale") {
          const uid = uuid(random);
          return decideApply(plain, live, key, patch, { ...writer, uid });
        }
        if (!live) return notFound(plain, key.name);
        return patch.type === "apply"
          ? decideScale(plain, live, patch.body, writer)
          : decidePatch(plain, live, patch, writer);
      };
      return await modify(writing, kind, key, decide, options);
    },

    delete: (kind, key, options = {}) =>
      modify(
        writing,
        kind,
        key,
        (live) =>
          live
            ? decideDelete(kind as KindDefinition, live, options, clock.wallMs())
            : notFound(kind as KindDefinition, key.name),
        options,
      ),
  };
}

/** Before there is a key to look under: what the object says of itself. */
function identified(kind: KindDefinition, object: KubeObject) {
  const causes = [];
  const wanted = { apiVersion: apiVersionOf(kind), kind: kind.kind };
  for (const [field, want] of Object.entries(wanted)) {
    const given = object[field as keyof typeof wanted];
    if (given !== want)
      causes.push({ field, message: `${JSON.stringify(given) ?? "nothing"} must be "${want}"` });
  }
  const { name, generateName, namespace } = object.metadata;
  if (!name && !generateName)
    causes.push({ field: "metadata.name", message: "name or generateName is required" });
  const problem = name === undefined || name === "" ? undefined : dnsSubdomainProblem(name);
  if (problem) causes.push({ field: "metadata.name", message: problem });
  if (kind.namespaced && !namespace)
    causes.push({ field: "metadata.namespace", message: `${kind.kind} needs a namespace` });
  if (causes.length === 0) return undefined;
  const listed = causes.map(({ field, message }) => `${field}: ${message}`).join("; ");
  return refused("invalid", listed, causes);
}

function missingSubresource(kind: KindDefinition, subresource: Subresource | undefined) {
  return subresource === undefined || kind.subresources.includes(subresource)
    ? undefined
    : refused("not-found", `${kind.plural} have no ${subresource}`);
}

/**
 * Creates the namespaces that every cell has; a server calls it when it starts. Throws
 * `ledger-unavailable` when the outcome of a write is unknown.
 */
export async function ensureNamespaces(resources: Resources): Promise<void> {
  for (const name of builtInNamespaces) {
    const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name } } as const;
    const result = await resources.create(namespaceKind, namespace);
    if (result.state === "unknown") {
      throw new SkerryError({
        code: "ledger-unavailable",
        message: `whether namespace ${name} was created is unknown`,
        retryable: true,
        cause: result.cause,
      });
    }
  }
}
