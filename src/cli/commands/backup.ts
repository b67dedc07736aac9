import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "commander";
import { keptBackups, proveBackupFile, readKeyHere } from "../../agent/index.ts";
import { hubBackups } from "../../hub/index.ts";
import type { BackupReport } from "../../api/index.ts";
import { formatBytes, formatDuration } from "../../lib/duration.ts";
import { SkerryError } from "../../lib/errors.ts";
import { hasAccess, isHubFolder } from "../../runtime/local/index.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { callJson, withAdminApi } from "../local-api.ts";
import { renderTable } from "../output.ts";

type Flags = { data?: string; json?: boolean };
type KeyFlags = Flags & { key?: string };

/** A backup as lists show it: from the cell with its places, from a folder with its path. */
type Listed = {
  readonly id: string;
  readonly cell: string;
  readonly by: string;
  readonly atMs: number;
  readonly revision: number;
  readonly keys: number;
  readonly bytes: number;
  readonly on?: readonly string[];
  readonly path?: string;
};
type CellList = {
  readonly report: BackupReport;
  readonly step?: string;
  readonly isKeyTaken: boolean;
  readonly backups: readonly Listed[];
};
type Verified = {
  readonly id: string;
  readonly copies: readonly { readonly on: string; readonly state: string }[];
};

const route = "/skerry/v1/backups";

export function registerBackup(program: Command, context: Context): void {
  const backup = program
    .command("backup")
    .description(
      "copies of the cell's state: made every hour by themselves, proved, sealed, kept in several places",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  skerry backup list\n  skerry backup key > mill.key     keep it away from the cell: it opens all backups\n  skerry restore latest --data /var/lib/skerry --yes",
    );
  const sub = (name: string, description: string, examples: string) =>
    backup
      .command(name)
      .description(description)
      .option(dataFlag, dataFlagText)
      .option("--json", "as JSON")
      .addHelpText("after", `\nExamples:\n${examples}`);

  sub("now", "make one now, on a server of the cell", "  skerry backup now").action(
    (flags: Flags) => now(flags, context),
  );
  sub(
    "list",
    "all backups that can be reached, newest first; without a running server those on this machine",
    "  skerry backup list\n  skerry backup list --data /srv/hub      on a hub: those of all cells",
  ).action((flags: Flags) => list(flags, context));
  sub(
    "verify [backup]",
    "restore one in a scratch place and read it back (default: the newest), and have other places read their copies",
    "  skerry backup verify\n  skerry backup verify mill-20260131T080000Z-r4711.age --key mill.key",
  )
    .option("--key <file>", "recovery key; for a file on a machine that is no server of the cell")
    .action((which: string | undefined, flags: KeyFlags) => verify(which, flags, context));
  sub(
    "key",
    "print the recovery key: who has it can open all backups of the cell, and restore it when every machine is lost",
    "  skerry backup key > mill.key",
  ).action((flags: Flags) => key(flags, context));
}

async function now(flags: Flags, context: Context): Promise<void> {
  const { output, clock } = context;
  await withAdminApi(dataDirOf(flags.data, context), async (api) => {
    const done = new AbortController();
    const made = callJson<Listed>(api, route, { method: "POST" }).finally(() => done.abort());
    const told = (async () => {
      while (!done.signal.aborted) {
        const { step } = await callJson<CellList>(api, route);
        if (step !== undefined && !done.signal.aborted) output.progress(`${step} …`);
        await clock.sleep(250, { signal: done.signal });
      }
    })();
    // Progress is a courtesy; what counts is the answer.
    told.catch(() => undefined);
    try {
      const one = await made;
      output.endProgress();
      output.line(
        flags.json
          ? JSON.stringify(one)
          : `${one.id}: ${one.keys} keys, ${formatBytes(one.bytes)}, restored in a scratch place and read back; on ${places(one)}`,
      );
    } finally {
      output.endProgress();
    }
  });
}

async function list(flags: Flags, context: Context): Promise<void> {
  const { output, clock } = context;
  const dataDir = dataDirOf(flags.data, context);
  const told = await fromCell(dataDir);
  const backups: readonly Listed[] =
    told?.backups ??
    (isHubFolder(dataDir) ? await hubBackups(dataDir) : await keptBackups(dataDir));
  if (flags.json) {
    output.line(JSON.stringify(told ?? { backups }));
    return;
  }
  if (told) output.line(told.report.words);
  else if (!isHubFolder(dataDir))
    output.line(
      hasAccess(dataDir)
        ? "No server answers here: this is what this machine keeps."
        : "This machine is no server: this is what it keeps. A server knows where all backups are.",
    );
  if (told && !told.isKeyTaken)
    output.line(
      "The recovery key was not taken out yet; without it a cell that lost all its servers is lost: skerry backup key",
    );
  const rows = backups.map((one) => [
    one.id,
    `${formatDuration(Math.max(0, clock.wallMs() - one.atMs))} ago`,
    one.by,
    `${one.revision}`,
    `${one.keys}`,
    formatBytes(one.bytes),
    one.path ?? places(one),
  ]);
  output.line(
    renderTable(["BACKUP", "AGE", "MADE BY", "REVISION", "KEYS", "SIZE", "ON"], rows, {
      tabs: !output.isTerminal,
    }),
  );
}

/** Undefined where no server of the cell answers. */
async function fromCell(dataDir: string): Promise<CellList | undefined> {
  if (isHubFolder(dataDir) || !hasAccess(dataDir)) return undefined;
  try {
    return await withAdminApi(dataDir, (api) => callJson<CellList>(api, route));
  } catch (error) {
    if (error instanceof SkerryError && error.code === "not-answering") return undefined;
    throw error;
  }
}

async function verify(which: string | undefined, flags: KeyFlags, context: Context): Promise<void> {
  const { output, random } = context;
  const dataDir = dataDirOf(flags.data, context);
  const file = which === undefined ? undefined : resolve(context.cwd, which);
  const told = file !== undefined && existsSync(file) ? undefined : await fromCell(dataDir);
  if (told) {
    const id = which ?? told.backups[0]?.id;
    if (id === undefined) throw noBackup(dataDir);
    const result = await withAdminApi(dataDirOf(flags.data, context), (api) =>
      callJson<Verified>(api, `${route}/verify`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ id }),
      }),
    );
    const isSound = result.copies.some(({ state }) => state !== "damaged" && state !== "silent");
    if (flags.json) output.line(JSON.stringify(result));
    else for (const { on, state } of result.copies) output.line(`${result.id} on ${on}: ${state}`);
    if (!isSound) throw noBackup(dataDir);
    return;
  }
  const path =
    file !== undefined && existsSync(file)
      ? file
      : (await keptBackups(dataDir)).find(({ id }) => which === undefined || id === which)?.path;
  if (path === undefined) throw noBackup(dataDir);
  const recoveryKey = readKeyHere(dataDir, keyText(flags.key, context));
  const manifest = await proveBackupFile({ random }, { file: path, key: recoveryKey });
  const { keys, revision } = manifest.ledger;
  output.line(
    flags.json
      ? JSON.stringify({ id: manifest.id, file: path, manifest })
      : `${manifest.id}: sound; ${keys} keys at revision ${revision} were restored in a scratch place and read back`,
  );
}

const noBackup = (dataDir: string) =>
  new SkerryError({
    code: "backup-unknown",
    message: `there is no such backup, neither in the cell nor in ${dataDir}`,
    hint: "skerry backup list tells which there are, and where",
  });

async function key(flags: Flags, context: Context): Promise<void> {
  const { output } = context;
  await withAdminApi(dataDirOf(flags.data, context), async (api) => {
    const told = await callJson<{ cell: string; secret: string; recipient: string }>(
      api,
      `${route}/key`,
      { method: "POST" },
    );
    if (flags.json) {
      output.line(JSON.stringify(told));
      return;
    }
    output.line(
      `# recovery key of the Skerry cell "${told.cell}": opens its backups, with skerry restore or with age\n# public key: ${told.recipient}\n${told.secret}`,
    );
    output.note("Keep it away from the machines of the cell, and as safe as what it opens.");
  });
}

const places = ({ on = [] }: Listed) =>
  on.map((name) => (name === "hub" ? "the hub" : name)).join(", ") || "no machine that answers";

/** The text of the file behind `--key`; undefined without the flag. */
export function keyText(path: string | undefined, context: Context): string | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(resolve(context.cwd, path), "utf8");
  } catch (cause) {
    throw new SkerryError({
      code: "invalid-argument",
      message: `--key: ${path} cannot be read`,
      hint: "name the file that `skerry backup key` was written to",
      cause,
    });
  }
}
