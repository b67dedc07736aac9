/** The hub's authority: its key in a folder, or by reference in a module that signs for it. */
import { join } from "node:path";
import {
  createAuthority,
  keepChecking,
  keptKeyReference,
  openAuthority,
  openReferredAuthority,
  type Authority,
  type KeyFailure,
} from "../identity/index.ts";
import { openModuleKey, parseKeyReference } from "../runtime/key-module/index.ts";
import type { HubRecord } from "./config.ts";
import type { HubGround } from "./ground.ts";

export type HubAuthority = {
  readonly authority: Authority;
  /** Where the hub's own leaves are kept, so that it starts while its key is away. */
  readonly leavesPath?: string;
  /** Why nothing is signed now. */
  keyFailure(): KeyFailure | undefined;
};

export const authorityFolder = (dataDir: string, record: Pick<HubRecord, "authority">) =>
  record.authority ?? join(dataDir, "identity");

/** Made at the first start. Throws what opening and making it throws. */
export async function openHubAuthority(
  { clock, log, random, lifecycle, record, dataDir, authorityKey }: HubGround,
  trustDomain: string,
): Promise<HubAuthority> {
  const deps = { clock, log, random, nowMs: () => clock.wallMs() };
  const folder = authorityFolder(dataDir, record);
  const reference = authorityKey ?? keptKeyReference(folder);
  if (reference === undefined) {
    const authority =
      openAuthority(deps, folder) ?? (await createAuthority(deps, { folder, trustDomain }));
    return { authority, keyFailure: () => undefined };
  }
  const module = await lifecycle.start(
    "authority's key",
    () => openModuleKey({ clock }, parseKeyReference(reference)),
    (part) => part.close(),
  );
  const authority = await lifecycle.start("authority", () =>
    openReferredAuthority(deps, { folder, trustDomain, reference, module }),
  );
  const { key } = authority.signer;
  await lifecycle.start(
    "checks of the authority's key",
    () => keepChecking({ clock }, key),
    (timer) => timer.cancel(),
  );
  return {
    authority,
    leavesPath: join(dataDir, "own-certificates.json"),
    keyFailure: () => key.failure,
  };
}
