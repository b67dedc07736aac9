/**
 * How this node becomes one of several servers, and how it stops being one. Each step is kept before
 * it is done, and a step that was cut short is finished by the next start.
 */
import { existsSync } from "node:fs";
import { acceptHandover, dropAuthorities } from "../identity/index.ts";
import { readLedgerRecord, type ServersBook } from "../ledger/servers/index.ts";
import { SkerryError } from "../lib/errors.ts";
import { forgetAccess } from "../runtime/local/index.ts";
import { readNodeRecord, writeNodeRecord, type NodeRecord } from "./config.ts";
import { removeLedgerFiles } from "./etcd-files.ts";
import type { Ground } from "./ground.ts";
import type { KeptLedger } from "./kept-ledger.ts";
import type { LedgerMember } from "./ledger-member.ts";
import { notMember, type JoinRequest } from "./ledger-terms.ts";
import { identityFolder, ledgerFile } from "./data-folder.ts";
import type { IdentityPath } from "./paths/identity-path.ts";

/**
 * Before anything else of a start: finishes a farewell that was cut short, so that a node that is no
 * server any more does not begin as one. Its etcd is stopped when the keeper is there.
 */
export function finishFarewell(dataDir: string, record: NodeRecord): NodeRecord {
  if (readLedgerRecord(dataDir)?.state !== "leaving") return record;
  dropAuthorities(identityFolder(dataDir));
  forgetAccess(dataDir);
  return { ...record, role: "worker" };
}

/**
 * A server whose ledger is gone from its disk founds no other one: beside the servers that still have it
 * that would be a second cell under the same authority. It goes on as a worker, with the keys that a
 * restore needs.
 */
export function standDown(dataDir: string, record: NodeRecord): NodeRecord {
  const { hadLedger, ...rest } = record;
  if (record.role !== "server" || !hadLedger || holdsLedgerFiles(dataDir)) return record;
  return { ...rest, role: "worker" };
}

/** After the storage thread opened it: from now on it is missed. */
export function noteLedger(dataDir: string, record: NodeRecord): NodeRecord {
  if (record.role !== "server" || record.hadLedger || !holdsLedgerFiles(dataDir)) return record;
  const noted: NodeRecord = { ...record, hadLedger: true };
  writeNodeRecord(dataDir, noted);
  return noted;
}

const holdsLedgerFiles = (dataDir: string) =>
  readLedgerRecord(dataDir) !== undefined || existsSync(ledgerFile(dataDir));

/** The rest of a farewell. */
export async function forgetMember(
  { dataDir, log, record }: Pick<Ground, "dataDir" | "log" | "record">,
  { kept, member }: { kept: KeptLedger; member: LedgerMember },
): Promise<void> {
  if (kept.record()?.state !== "leaving") return;
  await member.remove();
  removeLedgerFiles(dataDir);
  kept.forget();
  log.info("this node is no server of the cell any more; to be one again: skerry server add", {
    node: record.node,
  });
}

export type ServerRole = {
  /** This node becomes a member without a vote. Throws `member-refused`. */
  join(request: JoinRequest): Promise<void>;
  /** This member has its vote: the node starts again as a server. Throws `member-refused`. */
  settle(): Promise<void>;
  /** This member was removed, if the ledger says so: the node starts again as a worker. */
  leave(): Promise<void>;
};

export function createServerRole(
  { log, dataDir, record: node }: Ground,
  deps: {
    kept: KeptLedger;
    member: LedgerMember;
    book: ServersBook | undefined;
    identity: Pick<IdentityPath, "identity">;
    /** Ends this agent; the keeper starts it again. */
    restart: () => void;
  },
): ServerRole {
  const { kept, member, book, restart } = deps;
  return {
    async join(request) {
      const before = kept.record();
      if (before?.memberId === request.memberId) return await member.start(before);
      if (node.role === "server" && !before)
        throw new SkerryError({
          code: "member-refused",
          message: `${node.node} holds a ledger of its own`,
          hint: "a server of another cell cannot join this one: give the machine an empty data folder",
        });
      await member.clear();
      acceptHandover(identityFolder(dataDir), request.handover, deps.identity.identity.trust);
      kept.keep({
        version: 1,
        engine: "etcd",
        state: "joining",
        token: request.token,
        member: node.node,
        memberId: request.memberId,
        clientPort: member.own.port,
        peersPort: member.peersPort,
        initial: { cluster: "existing", members: [...request.members] },
        epoch: request.epoch,
        endpoints: [...request.endpoints, member.own],
        ...(request.timers ? { timers: request.timers } : {}),
      });
      if (request.hub !== undefined && node.hub === undefined)
        writeNodeRecord(dataDir, { ...node, hub: request.hub });
      await member.openCluster();
      const joining = kept.record();
      if (joining) await member.start(joining);
    },

    async settle() {
      const record = kept.record();
      const cluster = member.cluster();
      if (!record || !cluster) throw notMember(node.node);
      const own = (await cluster.members()).find(({ id }) => id === record.memberId);
      if (!own || own.isLearner) throw notMember(node.node);
      if (record.state !== "member") kept.keep({ ...record, state: "member" });
      if (node.role === "server") return;
      // Its hub may have come with the request to join.
      writeNodeRecord(dataDir, { ...(readNodeRecord(dataDir) ?? node), role: "server" });
      log.info("this node becomes a server of the cell", { node: node.node });
      restart();
    },

    async leave() {
      const memberId = kept.record()?.memberId;
      if (memberId === undefined || !book || !(await book.isRemoved(memberId))) return;
      const record = kept.record();
      if (!record) return;
      log.warn(
        "this node's member was removed from the ledger: it goes on as a worker; to be a server again: skerry server add",
        { node: node.node },
      );
      kept.keep({ ...record, state: "leaving" });
      writeNodeRecord(dataDir, { ...node, role: "worker" });
      restart();
    },
  };
}
