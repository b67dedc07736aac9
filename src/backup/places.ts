/**
 * Where the newest backup is, and who shall have it besides: its maker, some other nodes, the hub.
 * Places go: nodes leave the cell, and machines come back under the same name with an empty disk.
 */
import type { Log } from "../lib/log.ts";
import { sendCopy, type Holder } from "./copies.ts";
import type { BackupFolder } from "./folder.ts";
import type { LastBackup } from "./ports.ts";

export type PlacesDeps = {
  readonly log: Log;
  readonly folder: BackupFolder;
  /** Other nodes that can be reached now, best first. */
  readonly peers: () => readonly Holder[];
  readonly hub: () => Holder | undefined;
  /** Whether the cell has no such node any more; false while its nodes are not known. */
  readonly isGone: (node: string) => boolean;
};

const isNode = (place: string) => place !== "hub";

/** Without nodes that the cell does not have any more. */
export const inCell = (on: readonly string[], { isGone }: Pick<PlacesDeps, "isGone">) =>
  on.filter((name) => !isNode(name) || !isGone(name));

/** Asks all that can be reached: without those who say that they have it no more. */
export async function placesLeft(
  deps: PlacesDeps,
  { meta, on }: LastBackup,
): Promise<readonly string[]> {
  const hub = deps.hub();
  const reachable = [...deps.peers(), ...(hub ? [hub] : [])];
  const stay = inCell(on, deps);
  const has = await Promise.all(
    stay.map(async (name) => {
      const holder = reachable.find((one) => one.name === name);
      // Who does not answer may have it all the same.
      const metas = await holder?.list().catch(() => undefined);
      return metas === undefined || metas.some(({ id }) => id === meta.id);
    }),
  );
  return stay.filter((_, index) => has[index]);
}

/** Sends it to those who shall have it and have not; answers where it is then. */
export async function sendMissing(
  deps: PlacesDeps,
  { meta, on: before }: LastBackup,
  { node, peerCopies }: { readonly node: string; readonly peerCopies: number },
): Promise<readonly string[]> {
  let on = before;
  const hub = deps.hub();
  const peers = deps.peers();
  const wanted = (): readonly Holder[] => {
    const copies = on.filter((name) => name !== node && isNode(name)).length;
    const missing = peers.filter(({ name }) => !on.includes(name));
    return [...(hub && !on.includes("hub") ? [hub] : []), ...(copies < peerCopies ? missing : [])];
  };
  const refused = new Set<Holder>();
  for (;;) {
    const next = wanted().find((holder) => !refused.has(holder));
    if (!next) return on;
    try {
      await sendCopy(deps.folder, next, meta);
      on = [...on, next.name];
    } catch (error) {
      refused.add(next);
      deps.log.debug("a copy of the backup was not taken", { by: next.name, error });
    }
  }
}
