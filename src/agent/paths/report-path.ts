/** The way of a node's state to kubectl: its Node object, and what servers hold of each stream. */
import { cpus, totalmem } from "node:os";
import {
  addressOf,
  apiVersionOf,
  nodeKind,
  streamKind,
  type KubeObject,
  type Node,
  type NodePorts,
} from "../../api/index.ts";
import { every } from "../../lib/clock.ts";
import type { Membership } from "../../membership/index.ts";
import { ownProcess } from "../../runtime/process/index.ts";
import type { WriteResult } from "../../resources/index.ts";
import { startNodeReporter, type NodeWrite } from "../../workloads/index.ts";
import { hostDescription } from "../doctor.ts";
import type { Ground } from "../ground.ts";
import { createNodeEvents, type NodeEvents } from "../node-events.ts";
import type { StatePath } from "./command-path.ts";
import type { SyncPath } from "./sync-path.ts";

/** Each report of a stream is a write to the ledger: seldom enough for an SD card. */
const streamReportMs = 15_000;

/** What happens to this node and its data, for `kubectl get events`. */
export async function startNodeEvents(
  { clock, random, log, lifecycle, record }: Ground,
  { state }: { state: StatePath },
): Promise<NodeEvents> {
  return await lifecycle.start(
    "node events",
    () => createNodeEvents({ clock, random, log, events: state.upstream }, { node: record.node }),
    (part) => part.stop(),
  );
}

/** The Node object, told to the cell's state again and again. */
export async function startNodeReports(
  ground: Ground,
  deps: {
    state: StatePath;
    events: NodeEvents;
    ports: NodePorts;
    membership: Membership;
  },
): Promise<void> {
  const { clock, log, lifecycle, record } = ground;
  const { upstream } = deps.state;
  const outcome = (result: WriteResult<KubeObject>): NodeWrite => {
    if (result.state === "done") {
      deps.membership.onServerContact();
      return "done";
    }
    return result.state === "refused" && result.reason === "not-found" ? "missing" : "failed";
  };
  const host = hostDescription();
  /** As the cell knew it before this start told it anything. */
  let known: Node | undefined;
  let isTold = false;
  await lifecycle.start(
    "node reports",
    async () =>
      startNodeReporter(
        {
          clock,
          log,
          objects: {
            createNode: async (node) => outcome(await upstream.create(nodeKind, node)),
            patchNode: async (name, body, part) => {
              if (part === "metadata")
                return outcome(await upstream.patch(nodeKind, { name }, { type: "merge", body }));
              // Of two reports at a time the second may see what the first has told by now.
              const seen = known ?? (await upstream.get(nodeKind, { name }));
              known ??= seen;
              const written = outcome(
                await upstream.patch(
                  nodeKind,
                  { name },
                  { type: "merge", body },
                  { subresource: "status" },
                ),
              );
              if (written === "done" && known && !isTold) {
                isTold = true;
                tellMoved(ground, deps.events, known);
              }
              return written;
            },
          },
        },
        {
          name: record.node,
          isServer: record.role === "server",
          host: record.host,
          ports: deps.ports,
          version: ground.version,
          bootId: ownProcess().bootId,
          kernel: host.kernel,
          os: host.os,
          cpus: cpus().length,
          memoryBytes: totalmem(),
          podsMax: 110,
        },
      ),
    (part) => part.stop(),
  );
}

/** For `kubectl describe node` and `kubectl get events`, where it was elsewhere before. */
function tellMoved({ log, record }: Ground, events: NodeEvents, known: Node): void {
  const from = addressOf(known, "InternalIP");
  if (from === undefined || from === record.host) return;
  log.warn("this node has moved", { from, to: record.host });
  const { uid } = known.metadata;
  const about = { apiVersion: "v1", kind: "Node", name: record.node };
  events.tell({
    about: uid === undefined ? about : { ...about, uid },
    type: "Normal",
    reason: "Moved",
    message: `${record.node} moved from ${from} to ${record.host}`,
    component: "skerry-node",
  });
}

/** Servers: what this store holds of each stream, for `kubectl get streams`; written when it changed. */
export async function startStreamReports(
  ground: Ground,
  deps: { state: StatePath; sync: SyncPath },
): Promise<void> {
  const { clock, log, lifecycle } = ground;
  if (!deps.state.ledger) return;
  const toldByName = new Map<string, string>();
  const report = async () => {
    const { streams } = await deps.sync.store.status();
    for (const { name, entries, bytes, backlog } of streams) {
      const status = { entries, bytes, backlog: backlog.entries };
      const text = JSON.stringify(status);
      if (toldByName.get(name) === text) continue;
      const patch = { type: "merge" as const, body: { status } };
      const result = await deps.state.upstream.patch(streamKind, { name }, patch, {
        subresource: "status",
      });
      if (result.state === "done") toldByName.set(name, text);
    }
  };
  await lifecycle.start(
    "stream reports",
    () =>
      every(clock, streamReportMs, report, (error) => log.warn("streams not reported", { error })),
    (timer) => timer.cancel(),
  );
}

/** A disk that fails damages many segments: more events of a stream say nothing more. */
const damageEventMs = 3_600_000;

/** Damage found in a stream, for `kubectl describe` and `kubectl get events`; once an hour. */
export async function startDamageEvents(
  ground: Ground,
  deps: { events: NodeEvents; sync: SyncPath },
): Promise<void> {
  const { clock, lifecycle, record } = ground;
  const toldMs = new Map<string, number>();
  const tell = ({ stream, message }: { stream: string; message: string }) => {
    const nowMs = clock.monotonicMs();
    if (nowMs - (toldMs.get(stream) ?? -Infinity) < damageEventMs) return;
    toldMs.set(stream, nowMs);
    deps.events.tell({
      about: { apiVersion: apiVersionOf(streamKind), kind: streamKind.kind, name: stream },
      type: "Warning",
      reason: "SegmentDamaged",
      message: `${record.node}: ${message}`,
      component: "skerry-data",
    });
  };
  await lifecycle.start(
    "damage events",
    () => deps.sync.store.repairs.on("damaged", tell),
    (unsubscribe) => unsubscribe(),
  );
}
