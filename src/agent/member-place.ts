/**
 * A member of the ledger whose node's address changed: when its process has to listen at the new one at
 * once, and how the others learn of it.
 */
import type { EtcdCluster, EtcdMember, LedgerRecord } from "../ledger/index.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { endpointOf } from "./ledger-endpoints.ts";

/**
 * Whether the process that runs listens where nobody can reach it any more. Then its restart costs no
 * vote; where the old address is still this machine's, it votes on, and waits for its turn.
 */
export function isDeaf(
  { endpoints, member }: Pick<LedgerRecord, "endpoints" | "member">,
  host: string,
  isHere: (address: string) => boolean,
): boolean {
  const was = endpoints.find(({ name }) => name === member)?.host;
  return was !== undefined && was !== host && !isHere(was);
}

/**
 * Tells the members where this one is, once its process has published that it serves clients there. It
 * hears and speaks to the others by connections of its own until then, so that neither the change nor
 * its refusal loses a vote. Throws `address-taken`, or what `updatePeers` throws.
 */
export async function tellMemberPlace(
  { log }: { log: Log },
  cluster: Pick<EtcdCluster, "updatePeers">,
  members: readonly EtcdMember[],
  own: {
    readonly node: string;
    readonly host: string;
    readonly memberId: string | undefined;
    readonly peerUrl: string;
  },
): Promise<void> {
  const { node, memberId, peerUrl } = own;
  const before = members.find(({ id }) => id === memberId);
  if (!before || (before.peerUrls.length === 1 && before.peerUrls[0] === peerUrl)) return;
  if (endpointOf(before)[0]?.host !== own.host) return;
  const other = members.find(({ id, peerUrls }) => id !== memberId && peerUrls.includes(peerUrl));
  if (other)
    throw new SkerryError({
      code: "address-taken",
      message: `${node} cannot be at ${peerUrl}: the ledger's members look for ${other.name || other.id} there`,
      hint: `start ${other.name || "that one"} with its own address first: skerry up --host ADDRESS; if it never comes back: skerry server remove ${other.name || "NODE"}`,
      retryable: true,
    });
  await cluster.updatePeers(before.id, [peerUrl]);
  log.info("the ledger's members know where this one is", {
    node,
    from: before.peerUrls,
    to: peerUrl,
  });
}
