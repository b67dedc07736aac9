/**
 * Namespaces: the ones that every cell has, and the emptying of those that go. A namespace is held by
 * its finalizer until nothing is left in it; nothing new can be created there meanwhile.
 */
import {
  builtInNamespaces,
  kinds,
  namespaceFinalizer,
  namespaceKind,
  withCondition,
  type Namespace,
} from "../../api/index.ts";
import { fieldManager, type Context, type Controller } from "../context.ts";
import { createLoop } from "../loop/loop.ts";
import { written } from "../loop/outcome.ts";
import { deleteThis } from "../loop/removal.ts";
import { isTerminating, keyOf, nowText } from "../objects.ts";

const builtIn: readonly string[] = builtInNamespaces;
/** Pods take their grace to go. */
const lookAgainMs = 1000;
const pageItems = 200;

export function createNamespaceController(context: Context): Controller {
  const { resources, caches, clock } = context;

  const reconcile = async (name: string, signal: AbortSignal) => {
    const namespace = caches.namespaces.get(name);
    if (!namespace) {
      if (builtIn.includes(name)) await createBuiltIn(name, signal);
      return undefined;
    }
    if (!isTerminating(namespace)) return undefined;
    const left = await empty(name, signal);
    if (left.size > 0) {
      await sayLeft(namespace, left, signal);
      return { againMs: lookAgainMs };
    }
    const finalizers = (namespace.metadata.finalizers ?? []).filter(
      (finalizer) => finalizer !== namespaceFinalizer,
    );
    const next = { ...namespace, metadata: { ...namespace.metadata, finalizers } };
    const result = await resources.update(namespaceKind, next, { fieldManager, signal });
    written(result, `namespace ${name}`, ["not-found"]);
    return undefined;
  };

  const createBuiltIn = async (name: string, signal: AbortSignal) => {
    const namespace: Namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name } };
    const result = await resources.create(namespaceKind, namespace, { fieldManager, signal });
    written(result, `namespace ${name}`, ["exists"]);
  };

  /** Asks everything in the namespace to go; what is still there, by kind. */
  const empty = async (namespace: string, signal: AbortSignal) => {
    const left = new Map<string, number>();
    for (const kind of kinds) {
      if (!kind.namespaced) continue;
      let continueToken: string | undefined;
      do {
        const page = await resources.list(kind, {
          namespace,
          limit: pageItems,
          continueToken,
          signal,
        });
        for (const object of page.items) {
          left.set(kind.plural, (left.get(kind.plural) ?? 0) + 1);
          if (isTerminating(object)) continue;
          await deleteThis(resources, kind, object, { signal, propagationPolicy: "Background" });
        }
        continueToken = page.continueToken;
      } while (continueToken);
    }
    return left;
  };

  const sayLeft = async (
    namespace: Namespace,
    left: ReadonlyMap<string, number>,
    signal: AbortSignal,
  ) => {
    const message = [...left].map(([plural, count]) => `${count} ${plural}`).join(", ");
    const conditions = withCondition(namespace.status?.conditions, {
      type: "NamespaceContentRemaining",
      status: "True",
      reason: "SomeResourcesRemain",
      message: `still there: ${message}`,
      lastTransitionTime: nowText(clock),
    });
    const status = { ...namespace.status, phase: "Terminating" as const, conditions };
    const result = await resources.update(
      namespaceKind,
      { ...namespace, status },
      { fieldManager, signal, subresource: "status" },
    );
    written(result, `namespace ${namespace.metadata.name}`, ["not-found", "conflict"]);
  };

  const loop = createLoop(context, reconcile, { name: "namespace", workers: 1 });
  caches.namespaces.onChange(({ key }) => loop.add(key));
  return {
    loops: [loop],
    seed() {
      for (const name of builtIn) loop.add(name);
      for (const namespace of caches.namespaces.all()) loop.add(keyOf(namespace));
    },
  };
}
