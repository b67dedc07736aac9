/**
 * From a ledger that is one server's file to one that several servers share: a cluster of one member
 * is started here, filled while writes wait, compared, and becomes the truth by one file.
 */
import { ensureLedgerAuthority } from "../identity/index.ts";
import {
  convertLedger,
  defaultTimers,
  ledgerFolder,
  probeFsync,
  timersAtStart,
  type EtcdCluster,
  type LedgerRecord,
  type SwitchingLedger,
} from "../ledger/index.ts";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import { uuid } from "../lib/random.ts";
import { ensureDirectory } from "../runtime/files/index.ts";
import { putSqliteAside } from "./etcd-files.ts";
import type { Ground } from "./ground.ts";
import type { KeptLedger } from "./kept-ledger.ts";
import type { LedgerMember } from "./ledger-member.ts";
import { identityFolder } from "./data-folder.ts";

/** etcd's first start on a slow disk. */
const firstStartMs = 60_000;

/** Does nothing where it was done before. Throws `etcd-not-ready` and what a conversion throws. */
export async function convertToEtcd(
  { clock, random, log, dataDir, nowMs, record: node }: Ground,
  deps: {
    kept: KeptLedger;
    member: LedgerMember;
    ledger: SwitchingLedger;
    trustDomain: string;
    restart: () => void;
  },
  tell: (line: string) => void,
): Promise<void> {
  const { kept, member, ledger, trustDomain } = deps;
  if (kept.record()) return;
  await ensureLedgerAuthority({ random, nowMs }, { folder: identityFolder(dataDir), trustDomain });
  await member.clear();
  ensureDirectory(ledgerFolder(dataDir));
  const { medianMs } = await probeFsync({ clock }, ledgerFolder(dataDir));
  const draft: LedgerRecord = {
    version: 1,
    engine: "etcd",
    state: "member",
    token: `skerry-${uuid(random)}`,
    member: node.node,
    clientPort: member.own.port,
    peersPort: member.peersPort,
    initial: { cluster: "new", members: [{ name: node.node, peerUrl: member.peerUrl }] },
    epoch: ledger.epoch,
    endpoints: [member.own],
    timers: timersAtStart(medianMs, defaultTimers),
  };
  try {
    await member.start(draft);
    const memberId = await whenItLeads(await member.openCluster(), { clock, dataDir });
    tell("etcd runs here; copying the ledger");
    const told = await convertLedger({ clock, log }, ledger, {
      openTarget: ({ base, epoch }) => member.openEngine({ epoch, revision: base }),
      commit: () => kept.keep({ ...draft, memberId }),
    });
    putSqliteAside(dataDir);
    tell(
      `copied ${told.keys} keys (${told.bytes} bytes); writes waited ${told.heldMs} ms, nothing was lost`,
    );
  } catch (error) {
    // Before its commit nothing has happened; after a commit that failed only the disk knows.
    if (ledger.engine === undefined) deps.restart();
    else if (!kept.record()) await member.remove();
    throw error;
  }
}

/** The one member's id. */
async function whenItLeads(
  members: EtcdCluster,
  { clock, dataDir }: { clock: Clock; dataDir: string },
): Promise<string> {
  const giveUpMs = clock.monotonicMs() + firstStartMs;
  for (;;) {
    const [status] = await members.status();
    if (status?.state === "answers" && status.leaderId === status.id) return status.id;
    if (clock.monotonicMs() > giveUpMs)
      throw new SkerryError({
        code: "etcd-not-ready",
        message: `etcd did not get ready within ${firstStartMs / 1000} s`,
        hint: `its lines stand in ${dataDir}/logs/agent.log`,
        retryable: true,
      });
    await clock.sleep(100);
  }
}
