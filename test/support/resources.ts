/** Objects and shells for tests of resources. */
import { join } from "node:path";
import type { Deployment, Pod, ConfigMap, KubeObject } from "../../src/api/index.ts";
import type { Ledger } from "../../src/ledger/index.ts";
import { seededRandom } from "../../src/lib/random.ts";
import {
  createLedgerResources,
  ensureNamespaces,
  type Resources,
  type WatchEvent,
  type WriteResult,
} from "../../src/resources/index.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { openTestLedger, temporaryFolder } from "./ledger.ts";

export type LedgerFixture = AsyncDisposable & {
  readonly resources: Resources;
  readonly ledger: Ledger;
  readonly folder: string;
};

export async function openLedgerResources(): Promise<LedgerFixture> {
  const folder = await temporaryFolder();
  const ledger = openTestLedger({ path: join(folder.path, "ledger.db"), bookmarkMs: 50 });
  const resources = createLedgerResources({ ledger, clock: systemClock, random: seededRandom(7) });
  await ensureNamespaces(resources);
  return {
    ledger,
    resources,
    folder: folder.path,
    async [Symbol.asyncDispose]() {
      await ledger.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

export function configMap(name: string, data: Record<string, string> = {}): ConfigMap {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: "default" }, data };
}

export function pod(name: string, spec: Partial<Pod["spec"]> = {}): Pod {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "default", labels: { app: name } },
    spec: { containers: [{ name: "main", image: "host", command: ["sleep", "60"] }], ...spec },
  };
}

export function deployment(name: string, replicas = 2): Deployment {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace: "default" },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          containers: [{ name: "main", image: "host", ports: [{ containerPort: 8080 }] }],
        },
      },
    },
  };
}

export function done<T>(result: WriteResult<T>): T {
  if (result.state === "done") return result.object;
  throw new Error(`expected done, got ${JSON.stringify(result)}`);
}

export function refusal<T>(result: WriteResult<T>) {
  if (result.state === "refused") return result;
  throw new Error(`expected a refusal, got ${JSON.stringify(result)}`);
}

/** `MODIFIED web@12`, for readable comparisons; bookmarks as `BOOKMARK`. */
export function eventText(event: WatchEvent<KubeObject>): string {
  return event.type === "BOOKMARK" ? "BOOKMARK" : `${event.type} ${event.object.metadata.name}`;
}

/** Reads events until `enough`; stops the watch. */
export async function collect<T>(
  events: AsyncIterable<WatchEvent<T>>,
  enough: (seen: readonly WatchEvent<T>[]) => boolean,
): Promise<WatchEvent<T>[]> {
  const seen: WatchEvent<T>[] = [];
  for await (const event of events) {
    seen.push(event);
    if (enough(seen)) break;
  }
  return seen;
}
