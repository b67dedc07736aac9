/** A token of SoftHSM of the test's own, in a folder, as an administrator makes and fills it. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const libraries = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"];
const adminPin = "87654321";

export type TestToken = {
  readonly modulePath: string;
  readonly pinPath: string;
  readonly pin: string;
  /** For whoever loads the module. */
  readonly env: Readonly<Record<string, string>>;
  /** RFC 7512: of the key with this label, or as `id=%01`. */
  reference(key: string): string;
  /** Runs pkcs11-tool on this token, logged in; what it wrote. */
  tool(...args: string[]): string;
  /** As `skerry hub` tells it, at a prompt for the PIN that is answered. */
  run(line: string): string;
  makeKey(label: string, id: string): void;
  /** As if the module's network were cut. */
  away(): void;
  back(): void;
};

/** Throws with the line that installs what is missing. */
export function makeToken(folder: string): TestToken {
  const modulePath = libraries.find((path) => existsSync(path));
  if (modulePath === undefined)
    throw new Error("SoftHSM is missing: apt-get install softhsm2 opensc");
  const pin = "4321 5678";
  const tokens = join(folder, "tokens");
  const conf = join(folder, "softhsm2.conf");
  const pinPath = join(folder, "pin");
  mkdirSync(tokens, { recursive: true });
  writeFileSync(conf, `directories.tokendir = ${tokens}\nobjectstore.backend = file\n`);
  writeFileSync(pinPath, `${pin}\n`, { mode: 0o400 });
  const env = { SOFTHSM2_CONF: conf };
  const execute = (file: string, args: readonly string[]) =>
    execFileSync(file, args, {
      env: { ...process.env, ...env, TEST_PIN: pin },
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  execute("softhsm2-util", [
    ...["--init-token", "--free", "--label", "skerry", "--so-pin", adminPin, "--pin", pin],
  ]);
  const tool = (...args: string[]) =>
    execute("pkcs11-tool", [
      ...["--module", modulePath, "--token-label", "skerry", "--login", "--pin", "env:TEST_PIN"],
      ...args,
    ]);
  const gone = `${tokens}.away`;
  return {
    modulePath,
    pinPath,
    pin,
    env,
    reference: (key) =>
      `pkcs11:token=skerry;${key.includes("=") ? key : `object=${key}`}?module-path=${modulePath}&pin-source=file:${pinPath}`,
    tool,
    run: (line) => execute("sh", ["-c", line.replace("--login", "--login --pin env:TEST_PIN")]),
    makeKey: (label, id) =>
      void tool(...["--keypairgen", "--key-type", "EC:prime256v1", "--label", label, "--id", id]),
    away: () => renameSync(tokens, gone),
    back: () => renameSync(gone, tokens),
  };
}
