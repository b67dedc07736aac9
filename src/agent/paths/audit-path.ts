/**
 * The way of an audit: a person → gateway → [audit thread] this node's files, and over links the same
 * thread of other nodes and of the hub → fingerprints of ranges → what differs. It starts with the
 * first question.
 */
import { join } from "node:path";
import {
  collectionKind,
  nodeKind,
  streamKind,
  type Collection,
  type Node,
  type Stream,
} from "../../api/index.ts";
import {
  connectAudit,
  createAuditRoutes,
  createAudits,
  hubName,
  serveAudit,
  type AuditName,
} from "../../data/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { entryUrl } from "../../runtime/child/index.ts";
import type { Routes } from "../../runtime/http/index.ts";
import type { Link } from "../../transport/index.ts";
import type { Ground } from "../ground.ts";
import type { Mirrored } from "../mirrored.ts";
import type { LinkPath } from "./link-path.ts";

export type AuditPath = { readonly routes: Routes };

export async function startAuditPath(
  { clock, lifecycle, record, dataDir, router }: Ground,
  {
    mirrored,
    links,
    trustDomain,
  }: {
    mirrored: Mirrored;
    links: Pick<LinkPath, "linkTo" | "hub">;
    trustDomain: string;
  },
): Promise<AuditPath> {
  const files = {
    documentsPath: join(dataDir, "documents.db"),
    streamsPath: join(dataDir, "streams.db"),
  };
  const audits = await lifecycle.start(
    "audits",
    () => createAudits({ clock }, { entry: entryUrl(import.meta.url, "../audit.entry"), files }),
    (part) => part.stop(),
  );
  serveAudit(router, {
    prefix: "audit",
    side: audits,
    scopeOf({ id, path, trustDomain: domain }) {
      if (path[0] === "node" && domain === trustDomain) return {};
      throw new SkerryError({
        code: "forbidden",
        message: `${id} is not a node of ${trustDomain}`,
        hint: "only nodes of a cell compare its stores; the hub is asked, and does not ask",
      });
    },
  });
  let nodes: readonly string[] = [];
  let collections: readonly Collection[] = [];
  let streams: readonly Stream[] = [];
  mirrored.follow(nodeKind, (now: readonly Node[]) => {
    nodes = now.map(({ metadata }) => metadata.name);
  });
  mirrored.follow(collectionKind, (now: readonly Collection[]) => {
    collections = now;
  });
  mirrored.follow(streamKind, (now: readonly Stream[]) => {
    streams = now;
  });
  const atHub = ({ kind, name }: AuditName) => {
    const declared = kind === "collection" ? collections : streams;
    const spec = declared.find(({ metadata }) => metadata.name === name)?.spec;
    const scope = spec && "scope" in spec ? spec.scope : undefined;
    // Of one that both write the hub has its own writes beside what leaves.
    if (scope === "both") return undefined;
    if (spec?.egress !== undefined) return { policy: spec.egress };
    return scope === "hubToCells" ? {} : undefined;
  };
  const partner = (name: string, prefix: string, link: Link | undefined) => ({
    name,
    side: link && connectAudit(link, prefix),
  });

  return {
    routes: createAuditRoutes({
      own: { node: record.node, side: audits },
      partners: () => [
        ...nodes
          .filter((name) => name !== record.node)
          .map((name) => partner(name, "audit", links.linkTo(name))),
        ...(links.hub.address === undefined ? [] : [partner(hubName, "hub.audit", links.hub.link)]),
      ],
      atHub,
      clock,
    }),
  };
}
