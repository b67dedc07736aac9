/** The way of an audit at the hub: a cell's node asks → [audit thread] what is here of that cell, and of no other. */
import { join } from "node:path";
import { createAudits, serveAudit } from "../../data/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { entryUrl } from "../../runtime/child/index.ts";
import type { Peer, Router } from "../../transport/index.ts";
import type { HubGround } from "../ground.ts";
import { hubDatabasePath } from "../storage.ts";

export async function startAuditPath(
  { clock, lifecycle, dataDir, postgres }: HubGround,
  deps: { router: Router; cellOf: (peer: Peer) => string | undefined },
): Promise<void> {
  const documentsPath = join(dataDir, "documents.db");
  const audits = await lifecycle.start(
    "audits",
    () =>
      createAudits(
        { clock },
        {
          entry: entryUrl(import.meta.url, "../audit.entry"),
          files: postgres
            ? // Entries in PostgreSQL have no index by position, and are not compared.
              { postgres }
            : { documentsPath, streamsPath: hubDatabasePath(dataDir) },
        },
      ),
    (part) => part.stop(),
  );
  serveAudit(deps.router, {
    prefix: "hub.audit",
    side: audits,
    scopeOf(peer) {
      const scope = deps.cellOf(peer);
      if (scope !== undefined) return { scope };
      throw new SkerryError({
        code: "forbidden",
        message: `${peer.id} is not a node of an enrolled cell`,
        hint: "enrol the cell at this hub first",
      });
    },
  });
}
