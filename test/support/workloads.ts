/** Pods and the ports around the runner, in memory; the driver is the test's choice. */
import type { Pod, PodStatus } from "../../src/api/index.ts";
import { createQueue, type Queue } from "../../src/lib/queue.ts";
import { uuid } from "../../src/lib/random.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import {
  createPodRunner,
  type Driver,
  type PodEvent,
  type PodRunner,
  type ReportOutcome,
} from "../../src/workloads/index.ts";

type Container = Pod["spec"]["containers"][number];

export function pod(
  name: string,
  container: Partial<Container> & { script?: string },
  more: { spec?: Partial<Pod["spec"]>; metadata?: Partial<Pod["metadata"]> } = {},
): Pod {
  const { script, ...rest } = container;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "default", uid: uuid(systemRandom), ...more.metadata },
    spec: {
      nodeName: "n1",
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: "main",
          image: "host",
          ...(script === undefined ? {} : { command: ["/bin/sh", "-c", script] }),
          ...rest,
        },
      ],
      ...more.spec,
    },
  };
}

/** The cell's servers as one node sees them: pods by uid, statuses as reported, and a link that can be cut. */
export function createFakeCell() {
  const podsByUid = new Map<string, Pod>();
  const watchers = new Set<Queue<PodEvent>>();
  const configMaps = new Map<string, Record<string, string>>();
  const released: string[] = [];
  const adopted: string[] = [];
  let reachable = true;
  let reports = 0;
  const tell = (event: PodEvent) => {
    for (const watcher of watchers) watcher.push(event);
  };
  const uidOf = (object: Pod) => object.metadata.uid ?? "";
  const put = (object: Pod) => {
    const type = podsByUid.has(uidOf(object)) ? "MODIFIED" : "ADDED";
    podsByUid.set(uidOf(object), object);
    tell({ type, object });
  };
  const write = (object: Pod, change: (current: Pod) => void): ReportOutcome => {
    if (!reachable) return "later";
    const current = podsByUid.get(uidOf(object));
    if (!current) return "gone";
    change(current);
    return "done";
  };
  return {
    put,
    configMaps,
    released,
    adopted,
    get reports() {
      return reports;
    },
    reach(whether: boolean) {
      reachable = whether;
    },
    /** As `kubectl delete` does it. */
    terminate(object: Pod) {
      const current = podsByUid.get(uidOf(object)) ?? object;
      put({
        ...current,
        metadata: { ...current.metadata, deletionTimestamp: new Date().toISOString() },
      });
    },
    /** Gone without a farewell. */
    forget(object: Pod) {
      podsByUid.delete(uidOf(object));
      tell({ type: "DELETED", object });
    },
    status: (object: Pod): PodStatus | undefined => podsByUid.get(uidOf(object))?.status,
    has: (object: Pod) => podsByUid.has(uidOf(object)),
    ports: {
      pods: {
        async *watch({ signal }: { signal: AbortSignal }): AsyncIterable<PodEvent> {
          const queue = createQueue<PodEvent>({ itemsMax: 10_000, onFull: "reject" });
          watchers.add(queue);
          signal.addEventListener("abort", () => queue.close(), { once: true });
          try {
            for (const object of podsByUid.values()) yield { type: "ADDED", object };
            yield { type: "BOOKMARK", resourceVersion: "1" };
            yield* queue;
          } finally {
            watchers.delete(queue);
          }
        },
      },
      statuses: {
        async report(object: Pod, status: PodStatus) {
          reports++;
          return write(object, (current) => put({ ...current, status }));
        },
        async confirmDeleted(object: Pod) {
          return write(object, (current) => {
            podsByUid.delete(uidOf(current));
            tell({ type: "DELETED", object: current });
          });
        },
      },
      configMaps: { data: async (_namespace: string, name: string) => configMaps.get(name) },
      environment: {
        variables: async () => ({ SKERRY_GATEWAY: "http://127.0.0.1:7480" }),
        adopt: (object: Pod) => void adopted.push(uidOf(object)),
        release: async (podUid: string) => void released.push(podUid),
      },
    },
  };
}
export type FakeCell = ReturnType<typeof createFakeCell>;

export function createTestRunner(
  cell: FakeCell,
  driver: Driver,
  options: { marker: string },
): PodRunner {
  return createPodRunner(
    { clock: systemClock, random: systemRandom, log: silentLog, driver, ...cell.ports },
    {
      node: { name: "n1", address: "127.0.0.1" },
      baseEnvironment: { PATH: "/usr/bin:/bin", SKERRY_TEST: options.marker },
    },
  );
}

export async function readAll(source: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
