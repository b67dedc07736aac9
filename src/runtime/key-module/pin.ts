/** The PIN of a token, read from its file for each use: a new one needs no restart. */
import { open } from "node:fs/promises";
import { SkerryError, systemCode } from "../../lib/errors.ts";

/** As ssh asks of its keys. */
const othersMode = 0o077;
const pinBytesMax = 256;

/** Without the end of its line. Throws `pin-unusable`. */
export async function readPin(path: string): Promise<string> {
  try {
    await using file = await open(path);
    const { mode, size } = await file.stat();
    if ((mode & othersMode) !== 0)
      throw unusable(
        `${path} has mode ${(mode & 0o777).toString(8)}, expected one that only its owner reads`,
        `chmod 400 ${path}`,
      );
    if (size > pinBytesMax)
      throw unusable(`${path} has ${size} bytes, expected a PIN of at most ${pinBytesMax}`);
    const pin = (await file.readFile("utf8")).replace(/\r?\n$/, "");
    // oxlint-disable-next-line no-control-regex
    if (pin === "" || /[\u0000-\u001f]/.test(pin))
      throw unusable(`${path} holds no PIN, expected one line of text`);
    return pin;
  } catch (cause) {
    if (cause instanceof SkerryError) throw cause;
    throw unusable(
      `${path} cannot be read: ${systemCode(cause) ?? String(cause)}`,
      "write the PIN of the token's user into it, readable by the hub's user only",
    );
  }
}

const unusable = (problem: string, hint?: string) =>
  new SkerryError({
    code: "pin-unusable",
    message: `pin-source: ${problem}`,
    ...(hint === undefined ? {} : { hint }),
  });
