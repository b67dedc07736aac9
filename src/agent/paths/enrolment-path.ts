/**
 * The way of other machines into the cell, at a server: an administrator's wish → a join token, kept in
 * the ledger → spent here, once, by whoever joins → the leaves of a node. Nodes renew theirs here too.
 */
import type { MountedRoute } from "../../apiserver/index.ts";
import {
  createJoinToken,
  createLedgerTokenStore,
  createNodeEnrolment,
  parseTokenRequest,
  type Authority,
  type Subject,
  type TokenRecord,
} from "../../identity/index.ts";
import type { Ledger } from "../../ledger/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { EnrolHandler } from "../../transport/index.ts";
import type { Ground } from "../ground.ts";

export type EnrolmentPath = {
  /** Servers only: what joiners and renewing nodes ask. */
  readonly handler: EnrolHandler | undefined;
  readonly routes: readonly MountedRoute[];
};

export function openEnrolment(
  { random, record, nowMs }: Pick<Ground, "random" | "record" | "nowMs">,
  deps: {
    /** Servers only, both. */
    authority: Authority | undefined;
    ledger: Ledger | undefined;
    /** Told of each node that was let in, before the node is. */
    onJoined: (node: Subject, token: Pick<TokenRecord, "server">) => void | Promise<void>;
  },
): EnrolmentPath {
  const { authority, ledger, onJoined } = deps;
  const tokens = ledger && createLedgerTokenStore({ ledger, nowMs });
  const createToken = async (wanted: ReturnType<typeof parseTokenRequest>) => {
    if (!authority || !tokens)
      throw new SkerryError({
        code: "not-a-server",
        message: "only servers create join tokens",
        hint: "run this on a server machine of the cell",
      });
    const { name, ttlMs, server } = wanted;
    const { token, expiresAtMs } = await createJoinToken(
      { random, store: tokens, nowMs },
      {
        cell: record.cell,
        pin: authority.pin,
        lifetimeMs: ttlMs,
        server,
        ...(name === undefined ? {} : { name }),
      },
    );
    return { token, expiresAt: new Date(expiresAtMs).toISOString() };
  };
  return {
    handler:
      authority &&
      tokens &&
      createNodeEnrolment({
        authority,
        tokens,
        nowMs,
        onJoined,
        apiAddress: () => `${record.host}:${record.ports.api}`,
      }),
    routes: [
      {
        prefix: "/skerry/v1/tokens",
        handle: async (request) => ({
          status: 201,
          contentType: "application/json",
          body: JSON.stringify(await createToken(parseTokenRequest(await request.body()))),
        }),
      },
    ],
  };
}
