/** A key in a module: how it is named, and a tool that lies, hangs, crashes, or says too much. */
import { strict as assert } from "node:assert";
import { execFileSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import * as fc from "fast-check";
import { readGiven } from "../../src/cli/config-source.ts";
import { createContext } from "../../src/cli/context.ts";
import { hubConfigKeys, hubConfigSchema } from "../../src/hub/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { explain, SkerryError } from "../../src/lib/errors.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { listedObjects } from "../../src/runtime/key-module/key.ts";
import { openModuleKey, parseKeyReference, whyNoKey } from "../../src/runtime/key-module/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { fakePkcs11Tool } from "../support/fake-pkcs11-tool.ts";
import { waitFor } from "../support/wait.ts";

const module = "/usr/lib/hsm.so";
const query = `module-path=${module}&pin-source=file:/etc/pin`;
const whole = { modulePath: module, token: "skerry", object: "hub-ca", pinPath: "/etc/pin" };

test("a URI of RFC 7512 names module, token, key and the PIN's file", () => {
  const forms = {
    [`pkcs11:token=skerry;object=hub-ca?${query}`]: whole,
    [`pkcs11:object=hub-ca;type=private;token=skerry?${query}`]: whole,
    [`pkcs11:token=skerry;object=hub%2Dca;?pin-source=/etc/pin&module-path=${module}`]: whole,
    [`pkcs11:token=skerry;object=hub-ca?module-path=${module}&pin-source=file:///etc/pin`]: whole,
    [`pkcs11:token=skerry;object=hub-ca;id=%01%aB?${query}`]: { ...whole, id: "01ab" },
    [`pkcs11:token=skerry;id=A%00?${query}`]: {
      modulePath: module,
      token: "skerry",
      id: "4100",
      pinPath: "/etc/pin",
    },
  };
  for (const [text, reference] of Object.entries(forms))
    assert.deepEqual(parseKeyReference(text), reference, text);
});

test("labels of any signs go through", () => {
  // Control characters are refused: they end a label, or a line of the tool's answer.
  const label = fc
    .string({ unit: "grapheme", minLength: 1 })
    .filter((text) => !/\p{C}/u.test(text));
  fc.assert(
    fc.property(label, label, (token, object) => {
      const uri = `pkcs11:token=${encodeURIComponent(token)};object=${encodeURIComponent(object)}?${query}`;
      assert.deepEqual(parseKeyReference(uri), { ...whole, token, object });
    }),
  );
});

test("what is wrong with a URI is named, with what is allowed", () => {
  const uri = (path: string, more = query) => `pkcs11:${path}?${more}`;
  const refusals: [string, RegExp][] = [
    ["/etc/skerry/ca.pem", /^not a URI of PKCS#11.*expected as pkcs11:token=/],
    [uri("object=hub-ca"), /^token: absent/],
    [uri("token=skerry"), /^object: absent/],
    [uri("token=skerry;id="), /^id: "" is not allowed/],
    [uri("token=skerry;object=a;object=b"), /^object: stands there twice/],
    [
      uri("token=skerry;object=a;serial=1"),
      /^serial: not allowed here, expected token, object, id, type/,
    ],
    [uri("token=skerry;object=a;type=cert"), /^type: "cert" is not allowed, expected private/],
    [uri("token=skerry;object=a%2"), /^object: "a%2" is not allowed, expected text with %XX/],
    [uri("token=skerry;object=%C3"), /^object: .* is not allowed, expected printable text/],
    [uri("token=skerry;object=a%00b"), /^object: "a\\u0000b" is not allowed/],
    ["pkcs11:token=skerry;object=a", /^module-path: absent/],
    [uri("token=skerry;object=a", `module-path=${module}`), /^pin-source: absent/],
    [
      uri("token=skerry;object=a", "module-path=hsm.so&pin-source=/p"),
      /^module-path: "hsm.so".*from \/ on/,
    ],
    [
      uri("token=skerry;object=a", `module-path=${module}&pin-source=%7C/bin/pin`),
      /^pin-source: "\|\/bin\/pin"/,
    ],
    [uri("token=skerry;object=a", `${query}&module-name=hsm`), /^module-name: not allowed here/],
    [uri("token=skerry;object=a", `${query}&pin-value=4321`), /^pin-value: a PIN has no place/],
    [uri("token=skerry;object=a;pin-value=4321"), /^pin-value: a PIN has no place/],
  ];
  for (const [text, message] of refusals)
    assert.throws(() => parseKeyReference(text), { code: "invalid-key-reference", message }, text);
});

test("--authority-key is refused with its field and origin, and a PIN in it is told to nobody", () => {
  const context = { ...createContext(), env: {}, cwd: "/nowhere" };
  const problem = (authorityKey: string) => {
    try {
      readGiven(hubConfigSchema, hubConfigKeys, { authorityKey }, context);
    } catch (error) {
      assert.ok(error instanceof SkerryError);
      assert.equal(error.code, "invalid-config");
      return explain(error);
    }
    return "none";
  };
  assert.match(problem("hub.pem"), /^authorityKey: not a URI .* from --authority-key/);
  const spoken = problem(`pkcs11:token=a;object=b?${query}&pin-value=4321`);
  assert.match(spoken, /^authorityKey: pin-value: .*pin-source=file:/);
  assert.doesNotMatch(spoken, /4321/);
  assert.equal(problem(`pkcs11:token=a;object=b?${query}`), "none");
});

test("of what a token lists each object has its own label and id", () => {
  const text = `Private Key Object; EC
  label:      hub ca: old
  ID:         05
  Usage:      decrypt, sign
Private Key Object; RSA
  label:      no id
Private Key Object; EC
  label:      hub-ca
  ID:         0a1B
  Access:     sensitive
`;
  assert.deepEqual(listedObjects(text), [
    { label: "hub ca: old", id: "05" },
    { label: "no id" },
    { label: "hub-ca", id: "0a1B" },
  ]);
});

const searchPath = process.env["PATH"];
after(() => {
  process.env["PATH"] = searchPath;
});

/** A key behind a fake tool, in a folder that is gone at the end. */
function fakeKey(options: { clock?: Parameters<typeof openModuleKey>[0]["clock"] } = {}) {
  const folder = temporaryFolder();
  const fake = fakePkcs11Tool(folder.path);
  process.env["PATH"] = `${fake.folder}:${searchPath}`;
  const pinPath = join(folder.path, "pin");
  writeFileSync(pinPath, "4321\n", { mode: 0o600 });
  const reference = { modulePath: module, token: "skerry", id: "01", pinPath };
  const key = openModuleKey({ clock: options.clock ?? systemClock }, reference);
  return {
    ...{ folder, fake, pinPath, reference, key },
    sign: () => key.sign(Buffer.from("text")),
    [Symbol.dispose]() {
      key.close();
      folder[Symbol.dispose]();
    },
  };
}

const isAlive = (pid: number) => existsSync(`/proc/${pid}`);

test("the PIN is in no argument, and what is Skerry's own is in no variable of a module", async (t) => {
  using given = fakeKey();
  process.env["SKERRY_HUB_POSTGRES"] = "postgres://skerry:secret@db/skerry";
  process.env["SOFTHSM2_CONF"] = "/etc/hsm.conf";
  t.after(() => {
    delete process.env["SKERRY_HUB_POSTGRES"];
    delete process.env["SOFTHSM2_CONF"];
  });
  given.fake.does("cat");
  const digest = await given.sign();
  assert.equal(digest.length, 32, "a SHA-256 is what is signed");
  const [call = ""] = given.fake.calls();
  const [args = "", variables = ""] = call.split(" pid=");
  assert.doesNotMatch(args, /4321/);
  assert.match(args, /--sign .*--id 01$/);
  assert.match(variables, / pin=4321 hub= conf=\/etc\/hsm.conf$/);
});

test("a module that hangs is ended with all it started, and the next call is served", async () => {
  const clock = createSimulatedClock();
  using given = fakeKey({ clock });
  given.fake.does(`sleep 300 & echo $! > ${given.folder.path}/child; wait`);
  const signed = assert.rejects(given.sign(), {
    code: "hsm-unavailable",
    retryable: true,
    message: /no answer within 8 s/,
  });
  const behind = assert.rejects(given.sign(), { code: "hsm-unavailable" });
  await waitFor(() => existsSync(join(given.folder.path, "child")), { what: "the tool's child" });
  await clock.advance(8000);
  await Promise.all([signed, behind]);
  const pids = [
    ...given.fake
      .calls()
      .join(" ")
      .matchAll(/pid=(\d+)/g),
  ].map(([, pid]) => Number(pid));
  assert.equal(pids.length, 1, "who waited behind it started nothing any more");
  await waitFor(() => !pids.some(isAlive), { what: "the end of the tool" });
  given.fake.does("echo signature");
  assert.equal((await given.sign()).toString(), "signature\n");
});

test("a PIN's file that hangs is waited for as long as a module is", async () => {
  const clock = createSimulatedClock();
  using given = fakeKey({ clock });
  rmSync(given.pinPath);
  execFileSync("mkfifo", ["-m", "600", given.pinPath]);
  const signed = assert.rejects(given.sign(), { code: "hsm-unavailable" });
  await clock.advance(8000);
  await signed;
  // Lets the read end, which nothing else can.
  writeFileSync(given.pinPath, "4321\n");
});

test("a PIN that was refused is not tried again before the file has another one", async () => {
  using given = fakeKey();
  given.fake.does(`[ "$SKERRY_PKCS11_PIN" = right ] && { echo signature; exit 0; }
echo 'error: PKCS11 function C_Login failed: rv = CKR_PIN_INCORRECT (0xa0)' >&2; exit 1`);
  const refused = { code: "hsm-pin-refused", retryable: false, message: /CKR_PIN_INCORRECT/ };
  // Several at once: none of those behind the first one may try it either.
  await Promise.all([1, 2, 3].map(() => assert.rejects(given.sign(), refused)));
  await assert.rejects(given.sign(), refused);
  assert.equal(given.fake.calls().length, 1);
  writeFileSync(given.pinPath, "right\n");
  assert.equal((await given.sign()).toString(), "signature\n");
});

test("how many wait is bounded, and whoever is too many is told at once", async () => {
  using given = fakeKey();
  given.fake.does(`while [ ! -e ${given.folder.path}/go ]; do sleep 0.01; done; echo signature`);
  const waiting = Array.from({ length: 32 }, () => given.sign());
  await assert.rejects(given.sign(), { code: "hsm-unavailable", message: /32 others wait/ });
  given.fake.does("echo signature");
  mkdirSync(join(given.folder.path, "go"));
  assert.equal((await Promise.all(waiting)).length, 32);
});

const failures: [string, string, object][] = [
  ["crashes", "kill -SEGV $$", { code: "hsm-unavailable", message: /does not sign: SIGSEGV/ }],
  ["fails without a word", "exit 3", { code: "hsm-unavailable", message: /exit code 3/ }],
  ["never ends to speak", "yes", { code: "hsm-unavailable", message: /has no end/ }],
  ["complains without end", "yes >&2", { code: "hsm-unavailable", message: /has no end/ }],
  [
    "has no such token",
    "echo 'No slot with token named \"skerry\" found' >&2; exit 1",
    { code: "hsm-unavailable", message: /No slot with token named/ },
  ],
  [
    "has no such key",
    "echo 'error: Private key not found\nAborting.' >&2; exit 1",
    { code: "hsm-key-unusable", hint: /--keypairgen --key-type EC:prime256v1 --id 01$/ },
  ],
  [
    "is locked",
    "echo 'C_Login failed: rv = CKR_PIN_LOCKED (0xa4)' >&2; exit 1",
    { code: "hsm-pin-refused", hint: /^it is locked/ },
  ],
];
for (const [what, script, error] of failures)
  test(`a module that ${what} is told by its words`, async () => {
    using given = fakeKey();
    given.fake.does(script);
    await assert.rejects(given.sign(), error);
  });

test("a public key that is none, or of another curve, is refused", async () => {
  using given = fakeKey();
  given.fake.does("echo nothing");
  await assert.rejects(given.key.readPublicKey(), {
    code: "hsm-key-unusable",
    message: /expected P-256/,
  });
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
  const path = join(given.folder.path, "public");
  writeFileSync(path, publicKey.export({ type: "spki", format: "der" }));
  given.fake.does(`cat ${path}`);
  await assert.rejects(given.key.readPublicKey(), { message: /curve secp384r1, expected P-256/ });
});

test("a closed key ends what runs and starts nothing", async () => {
  using given = fakeKey();
  given.fake.does("exec sleep 300");
  const running = assert.rejects(given.sign(), { code: "closed" });
  const [pid] = await waitFor(
    () =>
      /pid=(\d+)/
        .exec(given.fake.calls()[0] ?? "")
        ?.slice(1)
        .map(Number),
    { what: "the tool" },
  );
  given.key.close();
  await running;
  await assert.rejects(given.sign(), { code: "closed" });
  await waitFor(() => !isAlive(pid ?? 0), { what: "the end of the tool" });
  assert.equal(given.fake.calls().length, 1);
});

test("a PIN's file is read by its owner only, and holds one line", async () => {
  using given = fakeKey();
  given.fake.does("echo signature");
  const { pinPath } = given;
  const refuse = async (message: RegExp) =>
    assert.rejects(given.sign(), { code: "pin-unusable", message });
  chmodSync(pinPath, 0o640);
  await refuse(/has mode 640, expected one that only its owner reads/);
  chmodSync(pinPath, 0o600);
  for (const [content, problem] of [
    ["", /holds no PIN/],
    ["43\n21\n", /holds no PIN/],
    ["4".repeat(300), /has 300 bytes/],
  ] as const) {
    writeFileSync(pinPath, content);
    await refuse(problem);
  }
  assert.equal(given.fake.calls().length, 0);
  const away = { ...given.reference, pinPath: "/nowhere/pin" };
  await assert.rejects(openModuleKey({ clock: systemClock }, away).sign(Buffer.from("x")), {
    code: "pin-unusable",
    message: /\/nowhere\/pin cannot be read: ENOENT/,
  });
});

test("what a machine lacks is told without asking a token, the tool too", async () => {
  using given = fakeKey();
  const found = await whyNoKey({
    ...given.reference,
    modulePath: "/nowhere/hsm.so",
    pinPath: "/no",
  });
  assert.match(
    found.join("\n"),
    /^module-path: \/nowhere\/hsm.so does not exist\npin-source: \/no /,
  );
  process.env["PATH"] = "/nowhere";
  assert.match((await whyNoKey(given.reference))[0] ?? "", /pkcs11-tool is not installed/);
  await assert.rejects(given.sign(), { code: "tool-missing", hint: /apt-get install opensc/ });
  assert.equal(given.fake.calls().length, 0);
});
