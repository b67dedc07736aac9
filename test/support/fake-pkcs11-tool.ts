/** A pkcs11-tool, first in the PATH, that does what a test says and tells what it was asked. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export type FakeTool = {
  /** To be put in front of the PATH. */
  readonly folder: string;
  /** Lines of sh; `real`: as if it were not there. */
  does(script: string): void;
  /** One line a call: its arguments and the variables that may matter. */
  calls(): string[];
};

export function fakePkcs11Tool(folder: string): FakeTool {
  const [bin, behaviour, log] = ["bin", "behaviour", "calls"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  mkdirSync(bin, { recursive: true });
  writeFileSync(log, "");
  writeFileSync(
    join(bin, "pkcs11-tool"),
    `#!/bin/sh
echo "$* pid=$$ pin=$SKERRY_PKCS11_PIN hub=$SKERRY_HUB_POSTGRES conf=$SOFTHSM2_CONF" >> ${log}
PATH="\${PATH#${bin}:}"
real() { exec pkcs11-tool "$@"; }
. ${behaviour}
`,
    { mode: 0o755 },
  );
  const does = (script: string) => writeFileSync(behaviour, `${script}\n`);
  does('real "$@"');
  return {
    folder: bin,
    does: (script) => does(script === "real" ? 'real "$@"' : script),
    calls: () => readFileSync(log, "utf8").split("\n").slice(0, -1),
  };
}
