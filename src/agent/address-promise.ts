/** What a cell promises of its addresses in the situation it is in, in sentences for a person. Pure. */
import { withoutPrefix, whyNotHold, type CellAddress, type Node } from "../api/index.ts";

export type AddressView = {
  readonly address: CellAddress;
  /** Nodes that say that they could hold it. */
  readonly fit: readonly string[];
};

export function addressViews(
  addresses: readonly CellAddress[],
  nodes: readonly Node[],
): AddressView[] {
  return addresses.map((address) => ({
    address,
    fit: nodes
      .filter((node) => whyNotHold(node, address.metadata.name) === undefined)
      .map(({ metadata }) => metadata.name),
  }));
}

export function addressPromise(
  { address, fit }: AddressView,
  cell: {
    readonly servers: readonly string[];
    /** No server, or no quorum of them, answers. */
    readonly undecided: boolean;
    /** Unreachable, or with an agent that is down. */
    readonly gone: (node: string) => boolean;
  },
): { readonly holds: boolean; readonly text: string } {
  const text = address.spec.addresses.map(withoutPrefix).join(", ");
  const { holder, conditions } = address.status ?? {};
  const broken = (words: string) => ({ holds: false, text: `${text} ${words}` });
  if (holder === undefined) {
    const why = conditions?.find(({ type }) => type === "Held")?.message;
    return broken(`is held by nobody${why === undefined ? "" : `: ${why}`}.`);
  }
  if (cell.undecided) {
    if (cell.servers.length > 1)
      return broken(`is given up by ${holder}, which cannot renew it, until the quorum is back.`);
    return cell.gone(holder)
      ? broken(`went with ${holder}, and is not moved until ${cell.servers.join(", ")} is back.`)
      : {
          holds: true,
          text: `${text} stays with ${holder} while that reaches more than half of the nodes; it is not moved until ${cell.servers.join(", ")} is back.`,
        };
  }
  const others = fit.filter((node) => node !== holder && !cell.gone(node));
  if (others.length === 0) return broken(`is with ${holder}, and no other node could take it.`);
  if (cell.servers.length === 1 && cell.servers[0] === holder)
    return broken(`is with ${holder}, the only server: if that is lost, nobody can move it.`);
  return {
    holds: true,
    text: `${text} is with ${holder}; if that is lost, another node takes it within seconds.`,
  };
}
