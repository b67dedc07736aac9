/**
 * A cell whose ledger is a file has one server: the one that holds it. After a restore or a recovery Node
 * objects may still say otherwise of machines that are gone, and whoever reads them would wait for servers
 * that are none. Each is corrected once: one that returns reports itself, and learns what it is
 * (`paths/history-path.ts`).
 */
import { nodeKind, serverRoleLabel, type Node } from "../api/index.ts";
import type { Resources } from "../resources/index.ts";
import type { Ground } from "./ground.ts";
import type { Mirrored } from "./mirrored.ts";

export function correctServerRoles(
  { log, record }: Pick<Ground, "log" | "record">,
  deps: {
    mirrored: Pick<Mirrored, "follow">;
    upstream: Pick<Resources, "patch">;
    /** Whether the ledger is a file on this node. */
    isSoleServer: () => boolean;
  },
): void {
  const corrected = new Set<string>();
  const correct = async (name: string) => {
    const result = await deps.upstream.patch(
      nodeKind,
      { name },
      { type: "merge", body: { metadata: { labels: { [serverRoleLabel]: null } } } },
    );
    if (result.state === "done")
      log.info("a node is no server any more: this is the only one", { node: name });
    // The next change of a node tries again.
    else corrected.delete(name);
  };
  deps.mirrored.follow(nodeKind, (nodes: readonly Node[]) => {
    if (!deps.isSoleServer()) return;
    for (const { metadata } of nodes) {
      const { name } = metadata;
      const isServer = metadata.labels?.[serverRoleLabel] !== undefined;
      if (!isServer || name === record.node || corrected.has(name)) continue;
      corrected.add(name);
      correct(name).catch((error: unknown) => {
        corrected.delete(name);
        log.warn("a node that is no server is still called one", { node: name, error });
      });
    }
  });
}
