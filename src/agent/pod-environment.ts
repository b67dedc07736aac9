/**
 * What a pod is given to reach its cell: the gateway's address and a file with its token. The file is
 * replaced whole, while a container may be reading it, at every start of a container and whenever the
 * node's certificate was renewed: a token ends with the one that it was made with, and a container may
 * run for years.
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Pod } from "../api/index.ts";
import type { Clock, Timer } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import { createTurns, type Turns } from "../lib/turns.ts";
import { writeFileAtomicAsync } from "../runtime/files/index.ts";
import type { PodEnvironment } from "../workloads/index.ts";

/** A disk that is full is given time; the tokens of before hold for days. */
const retryMs = 60_000;

/** One writer a file at a time; and a release comes behind what is being written. */
type Kept = { readonly pod: Pod; readonly turns: Turns };

export function createPodEnvironment(deps: {
  clock: Clock;
  log: Log;
  /** A folder a pod, by uid. */
  folder: string;
  gatewayUrl: string;
  mint: (pod: Pod) => string;
  /** Tells when what `mint` signs with was renewed. Returns the function that unsubscribes. */
  onRenewal: (listener: () => void) => () => void;
}): PodEnvironment & { stop(): void } {
  const { clock, log } = deps;
  const keptByUid = new Map<string, Kept>();
  let retry: Timer | undefined;
  let isStopped = false;

  const folderOf = (uid: string) => join(deps.folder, uid);
  const uidOf = ({ metadata }: Pod) => metadata.uid ?? "unknown";
  const keep = (pod: Pod): Kept => {
    const uid = uidOf(pod);
    const kept = keptByUid.get(uid) ?? { pod, turns: createTurns(1) };
    keptByUid.set(uid, kept);
    return kept;
  };
  const write = async (pod: Pod) => {
    const folder = folderOf(uidOf(pod));
    const path = join(folder, "token");
    await mkdir(folder, { recursive: true, mode: 0o700 });
    // No pod outlives a power cut.
    await writeFileAtomicAsync(path, deps.mint(pod), { durable: false });
    return path;
  };
  const renew = ({ pod, turns }: Kept) => {
    turns
      .take(() => write(pod))
      .catch((error: unknown) => {
        log.warn("a pod's token cannot be renewed now", { pod: pod.metadata.name, error });
        retry?.cancel();
        if (!isStopped) retry = clock.after(retryMs, renewAll);
      });
  };
  const renewAll = () => {
    for (const kept of keptByUid.values()) renew(kept);
  };
  const unsubscribe = deps.onRenewal(renewAll);

  return {
    async variables(pod) {
      const path = await keep(pod).turns.take(() => write(pod));
      return { SKERRY_GATEWAY: deps.gatewayUrl, SKERRY_TOKEN_FILE: path };
    },
    adopt: (pod) => renew(keep(pod)),
    async release(uid) {
      const { turns } = keptByUid.get(uid) ?? { turns: createTurns(1) };
      keptByUid.delete(uid);
      await turns.take(() => rm(folderOf(uid), { recursive: true, force: true }));
    },
    stop() {
      isStopped = true;
      retry?.cancel();
      unsubscribe();
    },
  };
}
