/**
 * A node in virtual time that runs pods by its lease: the real pod runner, lease renewal and keeper's
 * lease, over processes that only pretend and a link that delays, loses and delivers late. Its agent can
 * stand still or die; its keeper cannot.
 */
import { join } from "node:path";
import { podKind, leaseKind, nodeLeaseNamespace, type Pod } from "../../src/api/index.ts";
import { createLease } from "../../src/keeper/lease.ts";
import type { Clock } from "../../src/lib/clock.ts";
import type { SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import type { Random } from "../../src/lib/random.ts";
import type { Resources, WriteResult } from "../../src/resources/index.ts";
import {
  createPodRunner,
  createProcessDriver,
  createSingleStarts,
  startNodeLease,
  type LeaseWrite,
  type ProcessHost,
  type ReportOutcome,
} from "../../src/workloads/index.ts";

type ProcessStatus = Awaited<ReturnType<ProcessHost["list"]>>[number];
type ProcessSpec = Parameters<ProcessHost["start"]>[0];

export type SingleNode = {
  readonly name: string;
  /** The cable to the servers. */
  readonly link: { cut: boolean; slowMs: number };
  /** Since when beats say nothing (cut) or that the agent is down; undefined: all is well. */
  pause(): void;
  resume(): void;
  kill(): void;
  start(): void;
  readonly agent: "up" | "paused" | "dead";
  stop(): Promise<void>;
};

/** Told of every start and end of a process that stands for a pod's container. */
export type Watcher = {
  started(node: string, spec: ProcessSpec): void;
  ended(node: string, id: string): void;
};

const pollMs = 300;
const requestTimeoutMs = 5000;
const unavailable = () =>
  new SkerryError({ code: "ledger-unavailable", message: "no answer", retryable: true });

export function createSingleNode(
  deps: { clock: SimulatedClock; random: Random; resources: Resources; watcher: Watcher },
  options: { name: string; folder: string },
): SingleNode {
  const { clock, random, resources, watcher } = deps;
  const { name } = options;
  const bootTimeMs = () => clock.monotonicMs();
  const link = { cut: false, slowMs: 20 };
  const ending = new AbortController();

  // ---- the keeper, which outlives agents ----
  const processes = new Map<string, { spec: ProcessSpec; status: ProcessStatus }>();
  const listeners = new Set<(status: ProcessStatus | undefined) => void>();
  const become = (id: string, current: ProcessStatus["current"]) => {
    const entry = processes.get(id);
    if (!entry) return;
    entry.status = { ...entry.status, current };
    for (const listener of listeners) listener(entry.status);
  };
  const end = (id: string, reason: "stopped" | "lease-expired") => {
    const current = processes.get(id)?.status.current;
    if (!current || current.state === "exited" || current.state === "starting") return;
    const { startedMs } = current;
    watcher.ended(name, id);
    become(id, {
      state: "exited",
      exit: { code: 143, signal: 15, reason },
      startedMs,
      endedMs: clock.wallMs(),
    });
  };
  const terminate = (id: string, graceMs: number, reason: "stopped" | "lease-expired") => {
    const current = processes.get(id)?.status.current;
    if (current?.state === "running") become(id, { ...current, state: "stopping" });
    // Some hear TERM at once, some wait for KILL.
    clock.after(random.float() < 0.5 ? graceMs : random.float() * graceMs, () => end(id, reason));
  };
  const expired = new Set<string>();
  const lease = createLease(
    {
      clock,
      bootTimeMs,
      log: silentLog,
      onLook(isOver) {
        const left: (number | undefined)[] = [];
        for (const [id, { spec, status }] of processes) {
          if (!spec.leased || status.current.state === "exited" || expired.has(id)) continue;
          if (!isOver({ ttlMs: spec.leaseTtlMs })) left.push(spec.leaseTtlMs);
          else {
            expired.add(id);
            terminate(id, spec.graceMs, "lease-expired");
          }
        }
        return left;
      },
    },
    { path: join(options.folder, `lease-${name}`), bootId: "boot" },
  );
  const begin = (spec: ProcessSpec): ProcessStatus => {
    const known = processes.get(spec.id);
    if (known) return known.status;
    if (spec.leased && !lease.held({ ttlMs: spec.leaseTtlMs, sentBootMs: spec.leaseSentBootMs }))
      throw new SkerryError({ code: "lease-expired", message: "no lease", retryable: true });
    const status: ProcessStatus = {
      id: spec.id,
      labels: spec.labels,
      current: { state: "running", pid: 1, startedMs: clock.wallMs() },
      enforcement: { limits: "enforced", kill: "cgroup" },
      logDirectory: options.folder,
    };
    processes.set(spec.id, { spec, status });
    watcher.started(name, spec);
    lease.watch();
    return status;
  };

  // ---- one life of the agent ----
  const startAgent = () => {
    let state: "up" | "paused" | "dead" = "up";
    const held: (() => void)[] = [];
    /** Runs when the agent's process does; never when it is dead. */
    const act = (work: () => void) => {
      if (state === "up") work();
      else if (state === "paused") held.push(work);
    };
    const awake = () => new Promise<void>((resolve) => act(resolve));
    const own: Clock = {
      monotonicMs: () => clock.monotonicMs(),
      wallMs: () => clock.wallMs(),
      after(delayMs, callback) {
        let cancelled = false;
        const timer = clock.after(delayMs, () => act(() => !cancelled && callback()));
        return {
          cancel() {
            cancelled = true;
            timer.cancel();
          },
        };
      },
      sleep: (delayMs, { signal } = {}) =>
        new Promise((resolve, reject) => {
          if (signal?.aborted) return reject(signal.reason);
          const timer = own.after(delayMs, resolve);
          const onAbort = () => {
            timer.cancel();
            reject(signal?.reason);
          };
          signal?.addEventListener("abort", onAbort, { once: true });
        }),
    };
    const travel = async () => {
      await clock.sleep(random.float() * link.slowMs);
      while (link.cut && !ending.signal.aborted) await clock.sleep(pollMs);
    };
    /** There and back; what was sent is delivered even if nobody waits any more, or is lost. */
    const request = async <T>(run: () => Promise<T>): Promise<T> => {
      const sent = (async () => {
        const isLost = link.cut && random.float() < 0.5;
        await travel();
        if (isLost) throw unavailable();
        const answer = await run();
        await travel();
        return answer;
      })();
      sent.catch(() => {});
      const late = Promise.withResolvers<never>();
      late.promise.catch(() => {});
      const timer = clock.after(requestTimeoutMs, () => late.reject(unavailable()));
      try {
        return await Promise.race([sent, late.promise]);
      } finally {
        timer.cancel();
        await awake();
      }
    };
    const write = async <T>(run: () => Promise<WriteResult<T>>): Promise<WriteResult<T>> => {
      try {
        return await request(run);
      } catch (cause) {
        return { state: "unknown", cause: cause as Error };
      }
    };
    const leaseWrite = (result: WriteResult<unknown>): LeaseWrite => {
      if (result.state !== "done")
        return {
          state: result.state === "refused" && result.reason === "not-found" ? "missing" : "failed",
        };
      const { metadata } = result.object as Pod;
      return { state: "done", version: metadata.resourceVersion ?? "" };
    };
    const outcomeOf = (result: WriteResult<Pod>): ReportOutcome => {
      if (result.state === "done") return "done";
      const isGone =
        result.state === "refused" &&
        (result.reason === "not-found" || result.reason === "conflict");
      return isGone ? "gone" : "later";
    };
    const keeperCall = async <T>(run: () => T): Promise<T> => {
      await clock.sleep(random.float() * 5);
      try {
        return run();
      } finally {
        await awake();
      }
    };
    const host: ProcessHost = {
      start: (spec) => keeperCall(() => begin(spec)),
      async stop(id, { graceMs }) {
        await keeperCall(() => terminate(id, graceMs, "stopped"));
        for (;;) {
          const status = processes.get(id)?.status;
          if (status?.current.state === "exited") return status;
          await own.sleep(pollMs);
        }
      },
      remove: (id) => keeperCall(() => void processes.delete(id)),
      list: () => keeperCall(() => [...processes.values()].map(({ status }) => status)),
      exec: async () => ({ code: 0, stdout: "", stderr: "", timedOut: false }),
      enforcement: async () => ({ limits: "enforced", kill: "cgroup" }),
      onChange(listener) {
        const heard = (status: ProcessStatus | undefined) => act(() => listener(status));
        listeners.add(heard);
        return () => void listeners.delete(heard);
      },
    };
    const keyOf = ({ metadata }: Pod) => ({
      namespace: metadata.namespace ?? "default",
      name: metadata.name,
    });
    const nodeLease = startNodeLease(
      {
        objects: {
          create: async (object) =>
            leaseWrite(await write(() => resources.create(leaseKind, object))),
          patch: async (lease, body) =>
            leaseWrite(
              await write(() =>
                resources.patch(
                  leaseKind,
                  { namespace: nodeLeaseNamespace, name: lease },
                  { type: "merge", body },
                ),
              ),
            ),
        },
        keeper: {
          isExact: true,
          renewLease: (renewal) => keeperCall(() => lease.renew(renewal)),
        },
        clock: own,
        bootTimeMs,
        log: silentLog,
        ttlsMs: () => [10_000],
      },
      { node: name },
    );
    const runner = createPodRunner(
      {
        clock: own,
        random,
        log: silentLog,
        driver: createProcessDriver({ clock: own, host }),
        pods: {
          async *watch({ signal }) {
            const both = AbortSignal.any([signal, ending.signal]);
            const query = { fieldSelector: `spec.nodeName=${name}`, signal: both };
            for await (const event of resources.watch(podKind, query)) {
              await travel();
              await awake();
              yield event;
            }
          },
        },
        statuses: {
          report: async (pod, status) => {
            const body = { metadata: { uid: pod.metadata.uid }, status };
            const patch = { type: "merge", body } as const;
            return outcomeOf(
              await write(() =>
                resources.patch(podKind, keyOf(pod), patch, { subresource: "status" }),
              ),
            );
          },
          confirmDeleted: async (pod) =>
            outcomeOf(
              await write(() =>
                resources.delete(podKind, keyOf(pod), {
                  gracePeriodSeconds: 0,
                  preconditions: { uid: pod.metadata.uid },
                }),
              ),
            ),
        },
        singleStarts: createSingleStarts({
          lease: nodeLease,
          livePod: (pod) => request(() => resources.get(podKind, keyOf(pod))),
        }),
        configMaps: { data: async () => undefined },
        environment: { variables: async () => ({}), adopt() {}, release: async () => {} },
      },
      { node: { name, address: "127.0.0.1" }, baseEnvironment: {} },
    );
    runner.start().catch(() => {});
    return {
      get state() {
        return state;
      },
      become(next: "up" | "paused" | "dead") {
        if (state === "dead") return;
        state = next;
        if (state === "up") for (const work of held.splice(0)) act(work);
        if (state === "dead") listeners.clear();
      },
      close() {
        nodeLease.stop();
        void runner.stop();
      },
    };
  };
  let agent = startAgent();
  const lives = [agent];

  return {
    name,
    link,
    pause: () => agent.become("paused"),
    resume: () => agent.become("up"),
    kill: () => agent.become("dead"),
    start() {
      if (agent.state !== "dead") return;
      agent = startAgent();
      lives.push(agent);
    },
    get agent() {
      return agent.state;
    },
    async stop() {
      ending.abort(new DOMException("the test ends", "AbortError"));
      for (const life of lives) life.close();
      await lease.close();
    },
  };
}
