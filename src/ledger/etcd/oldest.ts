/** Up to where etcd has forgotten history: it tells nobody but a watch that starts before. */
import type { EtcdClient } from "./client/client.ts";
import * as wire from "./client/messages.ts";
import { EtcdFailure } from "./client/outcome.ts";
import { ownPrefix } from "./history.ts";
import type { EtcdDeps } from "./types.ts";

/** No key stands here; reading it costs nothing. */
const probeKey = new TextEncoder().encode(`${ownPrefix}meta/none`);

/**
 * etcd's compacted revision, or `atLeast` when nothing later was compacted; `atLeast` is from an
 * earlier call, or a revision below which nobody may read anyway. Throws EtcdFailure.
 */
export async function findCompacted(
  deps: EtcdDeps,
  client: EtcdClient,
  options: { atLeast: number; timeoutMs: number },
): Promise<number> {
  const { atLeast, timeoutMs } = options;
  try {
    await client.ask(wire.range, { key: probeKey, revision: atLeast }, { timeoutMs });
    return atLeast;
  } catch (error) {
    if (!(error instanceof EtcdFailure && error.details.includes("has been compacted")))
      throw error;
  }
  const stream = await client.stream(wire.watch, { timeoutMs });
  const timer = deps.clock.after(timeoutMs, () => stream.cancel());
  try {
    stream.send({ create: { key: probeKey, startRevision: atLeast } });
    for await (const { canceled, compactRevision } of stream.messages)
      if (canceled && compactRevision > 0) return compactRevision;
  } finally {
    timer.cancel();
    stream.cancel();
  }
  throw new EtcdFailure("unknown", {
    code: 4,
    details: "the watch did not say from where on history is kept",
    member: stream.member,
  });
}
