/** What pkcs11-tool says when it fails, as errors that tell what to do. */
import { SkerryError } from "../../lib/errors.ts";
import type { KeyReference } from "./reference.ts";

/** Retryable: nothing was signed, and the same call may succeed when the module answers again. */
export const unavailable = ({ token, modulePath }: KeyReference, problem: string) =>
  new SkerryError({
    code: "hsm-unavailable",
    message: `token "${token}" of ${modulePath} does not sign: ${problem}`,
    hint: "look at the module and at what leads to it; it is tried again by itself",
    retryable: true,
  });

/** Not tried again by itself: tokens lock themselves after a few wrong PINs. */
export const pinRefused = ({ token, pinPath }: KeyReference, words: string) =>
  new SkerryError({
    code: "hsm-pin-refused",
    message: `token "${token}" refuses the PIN in ${pinPath}: ${words}`,
    hint: /LOCKED/.test(words)
      ? "it is locked: its administrator sets a new PIN; then write that into the file"
      : "write the right PIN into the file: it is tried once for each content of it, since tokens lock themselves",
  });

export const keyUnusable = ({ token, modulePath }: KeyReference, problem: string, hint: string) =>
  new SkerryError({
    code: "hsm-key-unusable",
    message: `token "${token}" of ${modulePath}: ${problem}`,
    hint,
  });

export function keyMissing(reference: KeyReference): SkerryError {
  const { token, modulePath, object, id } = reference;
  const named = [...(object === undefined ? [] : ["--label", object]), ...["--id", id ?? "01"]];
  const line = [
    ...["pkcs11-tool", "--module", modulePath, "--token-label", token, "--login"],
    ...["--keypairgen", "--key-type", "EC:prime256v1", ...named],
  ];
  return keyUnusable(
    reference,
    `it has no key ${object === undefined ? `with the id ${id}` : `"${object}"`}`,
    `for a new authority make one: ${line.map(shellWord).join(" ")}`,
  );
}

const shellWord = (text: string) =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

/** `words`: of standard error; `end`: how the tool ended. */
export function refusalOf(reference: KeyReference, words: string, end: string): SkerryError {
  const said = words.replaceAll(/^(?:error: |Aborting\.|Using signature .*)/gm, "");
  const told =
    said
      .trim()
      .replaceAll(/\s*\n\s*/g, "; ")
      .slice(0, 500) || end;
  if (/CKR_(?:PIN_|USER_PIN_NOT_INITIALIZED)/.test(told)) return pinRefused(reference, told);
  if (/(?:Private key|object) not found/i.test(told)) return keyMissing(reference);
  return unavailable(reference, told);
}
