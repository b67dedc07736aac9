/** Which etcd is installed, and which may follow on which data. */
import { execFile } from "node:child_process";
import { SkerryError, systemCode } from "../../../lib/errors.ts";

export type EtcdVersion = {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
};

export const versionText = ({ major, minor, patch }: EtcdVersion) => `${major}.${minor}.${patch}`;

const oldest = { major: 3, minor: 4 };
const answerTimeoutMs = 20_000;

/** From `etcd --version`, or "3.4.23" itself; undefined for anything else. */
export function parseEtcdVersion(text: string): EtcdVersion | undefined {
  const match = /^(?:etcd Version: )?v?(\d+)\.(\d+)\.(\d+)/m.exec(text);
  if (!match) return undefined;
  return { major: Number(match[1]), minor: Number(match[2]), patch: Number(match[3]) };
}

/**
 * Runs `etcd --version`. Throws `etcd-missing` when the binary cannot be run, and `etcd-unsupported`
 * for one that is older than 3.4 or says something else.
 */
export async function detectEtcd(binary: string): Promise<EtcdVersion> {
  const output = await new Promise<string>((resolve, reject) => {
    execFile(binary, ["--version"], { timeout: answerTimeoutMs }, (error, stdout) => {
      if (error) reject(missing(binary, error));
      else resolve(stdout);
    });
  });
  const version = parseEtcdVersion(output);
  if (version && isAtLeast(version, oldest)) return version;
  throw new SkerryError({
    code: "etcd-unsupported",
    message: `${binary}: ${version ? `etcd ${versionText(version)}` : "it"} is not etcd 3.4 or newer`,
    hint: "install etcd 3.4, 3.5 or 3.6 (Debian: apt-get install etcd-server)",
  });
}

const missing = (binary: string, cause: Error) =>
  new SkerryError({
    code: "etcd-missing",
    message:
      systemCode(cause) === "ENOENT"
        ? `${binary} is not installed`
        : `${binary} cannot be run: ${cause.message}`,
    hint: "install etcd 3.4 or newer (Debian: apt-get install etcd-server), or name it with --etcd",
    cause,
  });

const isAtLeast = (version: EtcdVersion, least: { major: number; minor: number }) =>
  version.major > least.major || (version.major === least.major && version.minor >= least.minor);

/**
 * Throws `ledger-data-newer` when `binary` must not open what `written` has written: etcd reads data
 * of the minor version before its own, and of no later one.
 */
export function assertReads(binary: EtcdVersion, written: EtcdVersion): void {
  const ahead = (binary.major - written.major) * 100 + binary.minor - written.minor;
  if (ahead >= 0 && ahead <= 1) return;
  throw new SkerryError({
    code: "ledger-data-newer",
    message: `the ledger's folder was written by etcd ${versionText(written)}, and etcd ${versionText(binary)} is installed`,
    hint:
      ahead < 0
        ? `install etcd ${written.major}.${written.minor} again; nothing was changed`
        : `upgrade by one minor version at a time: etcd ${written.major}.${written.minor + 1} first; nothing was changed`,
  });
}
