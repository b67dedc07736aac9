/** B2: what is sealed is opened by its key only, whole or not at all; the format is age's. */
import { strict as assert } from "node:assert";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { inflateSync } from "node:zlib";
import {
  generateRecoveryKey,
  parseRecoveryKey,
  seal,
  unseal,
  type RecoveryKey,
} from "../../src/backup/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { seededRandom } from "../../src/lib/random.ts";

type Vector = {
  name: string;
  expect: string;
  payload?: string;
  identity: string;
  zlib?: boolean;
  file: string;
};
const vectors = JSON.parse(
  readFileSync(new URL("../support/age-vectors.json", import.meta.url), "utf8"),
) as Vector[];

const random = seededRandom(5);
const key = generateRecoveryKey(random);
const other = generateRecoveryKey(random);

async function gather(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts);
}
const sealed = (plain: Uint8Array, recipients = [key.recipient]) =>
  gather(seal({ random }, recipients, [plain]));
const opened = (bytes: Uint8Array, keys: readonly RecoveryKey[] = [key]) =>
  gather(unseal(keys, [bytes]));
const isCode =
  (...codes: string[]) =>
  (error: unknown) =>
    error instanceof SkerryError && codes.includes(error.code);

for (const { name, expect, payload, identity, zlib, file } of vectors) {
  test(`B2: the age project's test vector ${name}: ${expect}`, async () => {
    const bytes = Buffer.from(file, "base64");
    const open = opened(zlib ? inflateSync(bytes) : bytes, [parseRecoveryKey(identity)]);
    if (expect === "success")
      assert.equal(
        createHash("sha256")
          .update(await open)
          .digest("hex"),
        payload,
      );
    else
      await assert.rejects(
        open,
        isCode(expect === "no match" ? "backup-wrong-key" : "backup-damaged"),
      );
  });
}

test("B2: sizes around the chunks come back as they were, in pieces of any size", async () => {
  for (const size of [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000]) {
    const plain = Buffer.from(random.bytes(size));
    const pieces = Array.from({ length: Math.ceil(size / 10_007) }, (_, index) =>
      plain.subarray(index * 10_007, (index + 1) * 10_007),
    );
    const bytes = await gather(seal({ random }, [key.recipient, other.recipient], pieces));
    const split = [bytes.subarray(0, 7), bytes.subarray(7, 250), bytes.subarray(250)];
    for (const one of [key, other])
      assert.ok((await gather(unseal([one], split))).equals(plain), `${size} bytes`);
  }
});

test("B2: a backup cut off anywhere, or with any byte changed, is refused", async () => {
  const whole = await sealed(random.bytes(70_000));
  const places = [0, 30, 100, 190, 210, 216, 300, 65_800, whole.length - 1];
  for (const at of places) {
    await assert.rejects(opened(whole.subarray(0, at)), isCode("backup-damaged"), `cut at ${at}`);
    const changed = Buffer.from(whole);
    changed[at] = (changed[at] ?? 0) ^ 1;
    await assert.rejects(
      opened(changed),
      isCode("backup-damaged", "backup-wrong-key"),
      `changed at ${at}`,
    );
  }
  await assert.rejects(opened(Buffer.concat([whole, whole])), isCode("backup-damaged"));
});

test("B2: another key does not open it, and keys that are none are named so", async () => {
  await assert.rejects(opened(await sealed(random.bytes(10)), [other]), isCode("backup-wrong-key"));
  for (const text of [
    "",
    "hello",
    key.recipient,
    key.secret.slice(0, -1),
    key.secret.toLowerCase() + "Q",
  ])
    assert.throws(() => parseRecoveryKey(text), isCode("invalid-recovery-key"), text);
  assert.deepEqual(parseRecoveryKey(`# a comment\n\n${key.secret}\n`), key);
  await assert.rejects(sealed(random.bytes(1), ["age1nonsense"]), isCode("invalid-recovery-key"));
});
