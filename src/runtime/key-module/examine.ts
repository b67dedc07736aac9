/** What of a key's reference will not work on this machine. Asks no token. */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { explain } from "../../lib/errors.ts";
import { environment } from "../process/index.ts";
import { readPin } from "./pin.ts";
import type { KeyReference } from "./reference.ts";

export async function whyNoKey({ modulePath, pinPath }: KeyReference): Promise<readonly string[]> {
  const folders = (environment["PATH"] ?? "").split(delimiter);
  const pinProblem = await readPin(pinPath).then(
    () => undefined,
    (error: unknown) => explain(error),
  );
  return [
    ...(folders.some((folder) => existsSync(join(folder, "pkcs11-tool")))
      ? []
      : ["pkcs11-tool is not installed (Debian: apt-get install opensc)"]),
    ...(existsSync(modulePath) ? [] : [`module-path: ${modulePath} does not exist`]),
    ...(pinProblem === undefined ? [] : [pinProblem]),
  ];
}
