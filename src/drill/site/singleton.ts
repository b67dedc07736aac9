/** The application of which one may run: deployed, and read from what its pods write down. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { deploymentKind, onPartitionAnnotation, partitionTtlAnnotation } from "../../api/index.ts";
import { entryUrl } from "../../runtime/child/index.ts";
import type { SingletonLine, SingletonPod } from "../load/singleton.ts";
import type { Site } from "./site.ts";

const name = "singleton";

/** `dir` is where its pods, on whichever machine, write. */
export async function deploySingleton(
  site: Site,
  options: { readonly dir: string; readonly ttlMs: number },
): Promise<void> {
  const labels = { app: name };
  const program = fileURLToPath(entryUrl(import.meta.url, "../load/singleton.entry"));
  await site.cluster.apply(deploymentKind, {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace: "default" },
    spec: {
      replicas: 1,
      strategy: { type: "Recreate" },
      selector: { matchLabels: labels },
      template: {
        metadata: {
          labels,
          annotations: {
            [onPartitionAnnotation]: "stop",
            [partitionTtlAnnotation]: `${options.ttlMs / 1000}s`,
          },
        },
        spec: {
          terminationGracePeriodSeconds: 2,
          containers: [
            {
              name,
              image: "host",
              command: [process.execPath, "--disable-warning=ExperimentalWarning", program],
              env: [{ name: "SINGLETON_DIR", value: options.dir }],
              resources: { requests: { cpu: "10m", memory: "64Mi" } },
            },
          ],
        },
      },
    },
  });
}

/** What its pods have written so far; the last line of one may be half a one. */
export function readSingletons(dir: string): SingletonPod[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir).flatMap((file) => {
    const [, node = "", pod = ""] = /^([^.]+)\.(.+)\.singleton\.jsonl$/.exec(file) ?? [];
    if (pod === "") return [];
    const text = readFileSync(join(dir, file), "utf8");
    const lines = text
      .slice(0, text.lastIndexOf("\n") + 1)
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as SingletonLine);
    return [{ pod, node, lines }];
  });
}
