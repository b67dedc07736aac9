/** Which node a peer is. */
import { SkerryError } from "../../lib/errors.ts";
import type { Peer } from "../../transport/index.ts";

/** Throws `forbidden` for who is no node of this cell. */
export function peerNode(peer: Peer, trustDomain: string): string {
  const [type, node] = peer.path;
  if (type === "node" && node !== undefined && peer.trustDomain === trustDomain) return node;
  throw new SkerryError({
    code: "forbidden",
    message: `${peer.id} is not a node of ${trustDomain}`,
    hint: "only nodes of a cell exchange its streams; the hub gets what passes the egress gate",
  });
}
