/**
 * The word that history was rewritten, on its way to every node: kept on disk, passed on over links. A
 * server whose ledger is of an older history gives it up and goes on as a worker: there is no second
 * one. What it held is kept aside.
 */
import { existsSync, renameSync } from "node:fs";
import { join } from "node:path";
import {
  dropAuthorities,
  isLater,
  verifyHistory,
  type HistoryClaim,
  type SignedHistory,
  type Trust,
} from "../../identity/index.ts";
import {
  ledgerFolder,
  readLedgerRecord,
  writeLedgerRecord,
  type Ledger,
} from "../../ledger/index.ts";
import { nodeKind, type Node } from "../../api/index.ts";
import { every } from "../../lib/clock.ts";
import { generationOf } from "../../lib/history.ts";
import {
  ensureDirectory,
  readRecord,
  syncDirectory,
  writeRecord,
} from "../../runtime/files/index.ts";
import { forgetAccess } from "../../runtime/local/index.ts";
import { databaseFiles } from "../../runtime/sqlite/index.ts";
import { readNodeRecord, writeNodeRecord } from "../config.ts";
import type { Ground } from "../ground.ts";
import { historyPath, identityFolder } from "../data-folder.ts";
import type { StatePath } from "./command-path.ts";
import type { IdentityPath } from "./identity-path.ts";
import type { LinkPath } from "./link-path.ts";

/** Often while a machine has just come back, seldom afterwards. */
const lookSoonMs = 1000;
const lookSeldomMs = 10_000;
const soonForMs = 60_000;
const askTimeoutMs = 2000;

/** What this node knows; nothing that the cell's authority did not sign. Throws `file-torn`. */
export const readHistory = (dataDir: string, trust: Trust): SignedHistory | undefined =>
  verifyHistory(trust, readRecord(historyPath(dataDir)));

export async function startHistoryPath(
  ground: Ground,
  deps: {
    state: Pick<StatePath, "ledger" | "mirrored" | "learnServer">;
    identity: IdentityPath;
    links: Pick<LinkPath, "linkTo" | "linked">;
    /** Ends this agent; the keeper starts it again. */
    restart: () => void;
  },
): Promise<void> {
  const { clock, log, lifecycle, router, record: node, dataDir } = ground;
  const { ledger, mirrored } = deps.state;
  const { trust } = deps.identity.identity;
  let known = readHistory(dataDir, trust);
  const follow = () => {
    if (known && known.claim.node !== node.node) deps.state.learnServer(known.claim.api);
  };
  follow();
  let nodes: readonly string[] = [];
  let isOver = false;
  mirrored.follow(nodeKind, (now: readonly Node[]) => {
    nodes = now.map(({ metadata }) => metadata.name);
  });
  // A step down that was cut short, or that the rest of a start overtook.
  const isAnothers = known !== undefined && known.claim.node !== node.node;
  if (node.role === "worker" && isAnothers && !readLedgerRecord(dataDir)) {
    dropAuthorities(identityFolder(dataDir));
    forgetAccess(dataDir);
  }
  router.handle("ledger.history", async () =>
    new TextEncoder().encode(JSON.stringify(known ?? {})),
  );

  const hear = async (name: string) => {
    const link = deps.links.linkTo(name);
    if (!link) return;
    const answer = await link.request("ledger.history", new Uint8Array(), {
      timeoutMs: askTimeoutMs,
    });
    const told = verifyHistory(trust, JSON.parse(new TextDecoder().decode(answer)));
    if (!told || !isLater(told.claim, known?.claim)) return;
    writeRecord(historyPath(dataDir), told);
    known = told;
    follow();
    log.warn("the cell's history was rewritten", { ...told.claim, toldBy: name });
  };

  const isOlder = async (held: Ledger, claim: HistoryClaim): Promise<boolean> => {
    try {
      const { revision } = await held.get("meta/history", { stale: true });
      return generationOf(revision) < claim.generation;
    } catch (error) {
      // Without a quorum nothing is served yet, and with one it would be the old history.
      const member = readLedgerRecord(dataDir);
      if (member) return member.epoch !== claim.epoch;
      throw error;
    }
  };

  const judge = async () => {
    if (!ledger || !known || isOver || known.claim.node === node.node) return;
    if (!(await isOlder(ledger, known.claim))) return;
    isOver = true;
    log.error(
      "this server's ledger is of a history that was replaced: it is kept aside, and the node goes on as a worker; to be a server again: skerry server add",
      { node: node.node, replacedBy: known.claim },
    );
    stepDown(dataDir, known.claim.api, clock.wallMs());
    deps.restart();
  };

  const startedMs = clock.monotonicMs();
  const look = async () => {
    // A server that was restored under another name is nobody's node yet: it has called.
    const others = new Set([...nodes, ...deps.links.linked()]);
    others.delete(node.node);
    await Promise.all(
      [...others].map((name) =>
        hear(name).catch((error: unknown) =>
          log.debug("a node did not say which history it knows", { node: name, error }),
        ),
      ),
    );
    await judge();
  };
  await lifecycle.start(
    "history",
    () =>
      every(
        clock,
        () => (clock.monotonicMs() - startedMs < soonForMs ? lookSoonMs : lookSeldomMs),
        look,
        (error) => log.debug("which history holds is not known now", { error }),
      ),
    (timer) => timer.cancel(),
  );
}

/** The node's record first: an interrupted step down is finished by the next start's look. */
function stepDown(dataDir: string, serverApi: string, nowMs: number): void {
  const record = readNodeRecord(dataDir);
  if (record) writeNodeRecord(dataDir, { ...record, role: "worker", serverApi });
  const stamp = new Date(nowMs).toISOString().replaceAll(/[-:]|\.\d+/g, "");
  const aside = join(dataDir, `ledger-superseded-${stamp}`);
  ensureDirectory(aside);
  const member = readLedgerRecord(dataDir);
  const files = [
    ...databaseFiles("ledger.db"),
    join(ledgerFolder(dataDir), "etcd").slice(dataDir.length + 1),
  ];
  for (const file of files)
    if (existsSync(join(dataDir, file)))
      renameSync(join(dataDir, file), join(aside, file.replace("/", "-")));
  syncDirectory(aside);
  syncDirectory(dataDir);
  if (member) writeLedgerRecord(dataDir, { ...member, state: "leaving" });
  dropAuthorities(identityFolder(dataDir));
  forgetAccess(dataDir);
}
