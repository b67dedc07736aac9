/** Keeps an Endpoints object beside each service that has a selector. */
import { endpointsKind, type Pod } from "../../api/index.ts";
import { fieldManager, type Context, type Controller } from "../context.ts";
import { createLoop } from "../loop/loop.ts";
import { written } from "../loop/outcome.ts";
import { deleteThis } from "../loop/removal.ts";
import { conditionOf, isTerminating, keyOf } from "../objects.ts";
import { planEndpoints, selectsPod } from "./plan.ts";

export function createEndpointsController(context: Context): Controller {
  const { resources, caches } = context;

  const reconcile = async (key: string, signal: AbortSignal) => {
    const service = caches.services.get(key);
    const current = caches.endpoints.get(key);
    if (!service || isTerminating(service)) {
      if (!current || service) return;
      await deleteThis(resources, endpointsKind, current, { signal });
      return;
    }
    const next = planEndpoints({
      service,
      pods: caches.pods.byIndex("namespace", service.metadata.namespace ?? ""),
      node: (name) => caches.nodes.get(name),
      current,
    });
    if (!next) return;
    const options = { fieldManager, signal };
    const result = current
      ? await resources.update(endpointsKind, next, options)
      : await resources.create(endpointsKind, next, options);
    written(result, `endpoints ${key}`);
  };

  const loop = createLoop(context, reconcile, { name: "endpoints", workers: 2 });
  const addServicesOf = (pod: Pod) => {
    for (const service of caches.services.byIndex("namespace", pod.metadata.namespace ?? ""))
      if (selectsPod(service, pod)) loop.add(keyOf(service));
  };
  caches.services.onChange(({ key }) => loop.add(key));
  caches.endpoints.onChange(({ key }) => loop.add(key));
  caches.pods.onChange(({ object, previous }) => {
    if (object) addServicesOf(object);
    if (previous) addServicesOf(previous);
  });
  caches.nodes.onChange(({ key, object, previous }) => {
    const ready = (node: typeof object) => conditionOf(node?.status?.conditions, "Ready")?.status;
    if (object && previous && ready(object) === ready(previous)) return;
    for (const pod of caches.pods.byIndex("node", key)) addServicesOf(pod);
  });
  return {
    loops: [loop],
    seed() {
      for (const service of caches.services.all()) loop.add(keyOf(service));
      // Services that went while nobody led left these behind; those a person made have no service.
    },
  };
}
