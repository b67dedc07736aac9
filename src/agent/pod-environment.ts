/**
 * What a pod is given to reach its cell: the gateway's address and a file with its token. The file is
 * replaced whole at every start of a container, while another one of the pod may be reading it.
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Pod } from "../api/index.ts";
import { writeFileAtomicAsync } from "../runtime/files/index.ts";
import type { PodEnvironment } from "../workloads/index.ts";

export function createPodEnvironment(deps: {
  /** A folder a pod, by uid. */
  folder: string;
  gatewayUrl: string;
  mint: (pod: Pod) => string;
}): PodEnvironment {
  const folderOf = (uid: string) => join(deps.folder, uid);
  return {
    async variables(pod) {
      const folder = folderOf(pod.metadata.uid ?? "unknown");
      const path = join(folder, "token");
      await mkdir(folder, { recursive: true, mode: 0o700 });
      // No pod outlives a power cut.
      await writeFileAtomicAsync(path, deps.mint(pod), { durable: false });
      return { SKERRY_GATEWAY: deps.gatewayUrl, SKERRY_TOKEN_FILE: path };
    },
    release: (uid) => rm(folderOf(uid), { recursive: true, force: true }),
  };
}
