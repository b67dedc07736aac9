/**
 * A P-256 key pair in a token. The tool finds private keys by id only (whatever the label, it takes the
 * first one there is), so a label is looked up before, among all private keys of the token.
 */
import { createHash, createPublicKey } from "node:crypto";
import type { Clock } from "../../lib/clock.ts";
import { keyMissing, keyUnusable } from "./failures.ts";
import type { KeyReference } from "./reference.ts";
import { createPkcs11Tool, type Ask } from "./tool.ts";

/** Every call throws what a `Pkcs11Tool` does. */
export interface ModuleKey {
  /** SPKI, DER; from the public object beside the private one. */
  readPublicKey(): Promise<Uint8Array>;
  /** ECDSA over SHA-256 of the bytes, DER. Whether it holds is for who knows the public key to see. */
  sign(bytes: Uint8Array): Promise<Uint8Array>;
  /** Ends what runs; nothing is signed after it. */
  close(): void;
}

export function openModuleKey(deps: { clock: Clock }, reference: KeyReference): ModuleKey {
  const tool = createPkcs11Tool(deps, reference);
  const withKey = (work: (ask: Ask, id: string) => Promise<Buffer>) =>
    tool.use(async (ask) => await work(ask, reference.id ?? (await findId(ask, reference))));
  return {
    async readPublicKey() {
      const spki = await withKey((ask, id) =>
        ask(["--read-object", "--type", "pubkey", "--id", id]),
      );
      return assertP256(reference, spki);
    },
    async sign(bytes) {
      const digest = createHash("sha256").update(bytes).digest();
      const sign = ["--sign", "--mechanism", "ECDSA", "--signature-format", "openssl"];
      return await withKey((ask, id) => ask([...sign, "--id", id], digest));
    },
    close: () => tool.close(),
  };
}

/** Looked up each time: a token may be made anew while the hub runs. Throws `hsm-key-unusable`. */
async function findId(ask: Ask, reference: KeyReference): Promise<string> {
  const keys = listedObjects((await ask(["--list-objects", "--type", "privkey"])).toString());
  const found = keys.filter(({ label }) => label === reference.object);
  const [key, ...others] = found;
  if (!key) throw keyMissing(reference);
  if (others.length > 0)
    throw keyUnusable(
      reference,
      `${found.length} private keys have the label "${reference.object}"`,
      "name one by its id, as id=%01; pkcs11-tool --list-objects shows them",
    );
  if (key.id === undefined)
    throw keyUnusable(
      reference,
      `the private key "${reference.object}" has no id, by which it could be used`,
      "give it one: pkcs11-tool --set-id",
    );
  return key.id;
}

type ListedObject = { readonly label?: string; readonly id?: string };

/** Blocks of a headline and lines of two blanks, a name and a value. */
export function listedObjects(text: string): ListedObject[] {
  return text.split(/\n(?=\S)/).map((block) => {
    const field = (name: string) => new RegExp(`^ {2}${name}: +(.*)$`, "m").exec(block)?.[1];
    const [label, id] = [field("label"), /^[0-9a-f]+/i.exec(field("ID") ?? "")?.[0]];
    return { ...(label === undefined ? {} : { label }), ...(id === undefined ? {} : { id }) };
  });
}

/** Throws `hsm-key-unusable`. */
function assertP256(reference: KeyReference, spki: Uint8Array): Uint8Array {
  const curve = curveOf(spki);
  if (curve === "prime256v1") return spki;
  throw keyUnusable(
    reference,
    `the public key ${curve === undefined ? "is none of an elliptic curve" : `is of the curve ${curve}`}, expected P-256`,
    "name another key, or make one with --key-type EC:prime256v1",
  );
}

function curveOf(spki: Uint8Array): string | undefined {
  try {
    return createPublicKey({ key: Buffer.from(spki), type: "spki", format: "der" })
      .asymmetricKeyDetails?.namedCurve;
  } catch {
    // Nothing that Node could read is no key of a curve either.
    return undefined;
  }
}
