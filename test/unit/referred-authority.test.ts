/** An authority whose key is elsewhere and may be away, and the leaves of who holds it. */
import { strict as assert } from "node:assert";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pemKey } from "../../src/identity/ca/signing-key.ts";
import {
  createAuthority,
  generateKeyPem,
  keepChecking,
  keepOwnCredentials,
  keptKeyReference,
  openAuthority,
  openReferredAuthority,
  readAuthorityPin,
  readCertificatesPem,
  spiffeId,
  type Authority,
} from "../../src/identity/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemRandom } from "../../src/runtime/clock/index.ts";
import { dayMs, temporaryFolder, testNowMs } from "../support/identity.ts";
import { waitFor } from "../support/wait.ts";

const away = new SkerryError({ code: "hsm-unavailable", message: "away", retryable: true });
const reference = "pkcs11:token=t;object=o?module-path=/m.so&pin-source=/p";
const trustDomain = "hub.skerry";

/** A module with one key, which is away when a test says so. */
function moduleWith(keyPem = generateKeyPem()) {
  const key = pemKey(keyPem);
  const module = {
    isAway: false,
    signed: 0,
    readPublicKey: async () => key.publicKey,
    async sign(bytes: Uint8Array) {
      if (module.isAway) throw away;
      module.signed++;
      return await key.sign(bytes);
    },
  };
  return module;
}

function given() {
  const folder = temporaryFolder();
  const clock = createSimulatedClock({ wallMs: testNowMs });
  const told: string[] = [];
  const tell = (message: string) => void told.push(message);
  const log = { ...silentLog, info: tell, warn: tell, error: tell };
  const deps = { clock, log, random: systemRandom, nowMs: () => clock.wallMs() };
  const at = { folder: folder.path, trustDomain, reference };
  return { folder, clock, told, deps, at, [Symbol.dispose]: () => folder[Symbol.dispose]() };
}

const storedIn = (folder: string) => readFileSync(join(folder, "ca.json"), "utf8");

test("I23: the folder of an authority that a module signs for has certificate and reference, and is private", async () => {
  using it = given();
  const module = moduleWith();
  const made = await openReferredAuthority(it.deps, { ...it.at, module });
  const text = storedIn(it.at.folder);
  assert.ok(text.includes(reference) && !text.includes("PRIVATE"));
  assert.equal(statSync(join(it.at.folder, "ca.json")).mode & 0o777, 0o600);
  assert.equal(keptKeyReference(it.at.folder), reference);
  assert.equal(readAuthorityPin(it.at.folder), made.pin);
  const again = await openReferredAuthority(it.deps, { ...it.at, module });
  assert.equal(again.pin, made.pin);
  assert.equal(storedIn(it.at.folder), text);
  // What only knows folders says so, and makes no other one.
  assert.throws(() => openAuthority(it.deps, it.at.folder), { code: "invalid-key" });
});

test("I23: with another key, or none yet, nothing is opened, made, moved or changed", async () => {
  using it = given();
  const absent = { readPublicKey: () => Promise.reject(away), sign: () => Promise.reject(away) };
  await assert.rejects(openReferredAuthority(it.deps, { ...it.at, module: absent }), away);
  const lying = { ...moduleWith(), readPublicKey: moduleWith().readPublicKey };
  await assert.rejects(openReferredAuthority(it.deps, { ...it.at, module: lying }), {
    code: "authority-key-wrong",
  });
  assert.ok(!existsSync(join(it.at.folder, "ca.json")));

  await createAuthority(it.deps, it.at);
  const text = storedIn(it.at.folder);
  for (const [other, code] of [
    [moduleWith(), "authority-key-wrong"],
    [absent, "hsm-unavailable"],
  ] as const)
    await assert.rejects(openReferredAuthority(it.deps, { ...it.at, module: other }), { code });
  assert.equal(storedIn(it.at.folder), text);
});

test("I23: a key moves out of its folder by its own signature; what the hub trusts stays", async () => {
  using it = given();
  const kept = await createAuthority(it.deps, it.at);
  const module = moduleWith(kept.signer.key.keyPem);
  const moved = await openReferredAuthority(it.deps, { ...it.at, module });
  assert.equal(moved.pin, kept.pin);
  assert.deepEqual(moved.trust, kept.trust);
  assert.ok(!storedIn(it.at.folder).includes("PRIVATE"));
  assert.match(it.told.join("\n"), /stands in its folder no longer/);
  // Another way to the same key is kept only once it signed.
  const elsewhere = { ...it.at, reference: `${reference}2`, module };
  module.isAway = true;
  await openReferredAuthority(it.deps, elsewhere);
  assert.equal(keptKeyReference(it.at.folder), reference);
  module.isAway = false;
  await openReferredAuthority(it.deps, elsewhere);
  assert.equal(keptKeyReference(it.at.folder), `${reference}2`);
});

test("I23: a key that is away is asked more often, told of once, and back by itself; another one stays refused", async () => {
  using it = given();
  const { clock, told, deps, at } = it;
  const module = moduleWith();
  await openReferredAuthority(deps, { ...at, module });
  module.isAway = true;
  const { signer } = await openReferredAuthority(deps, { ...at, module });
  const since = signer.key.failure?.sinceMs;
  assert.equal(signer.key.failure?.error, away);
  const checks = keepChecking({ clock }, signer.key);
  await clock.advance(60_000);
  assert.equal(signer.key.failure?.sinceMs, since);
  assert.equal(told.filter((text) => /does not sign/.test(text)).length, 1);
  module.isAway = false;
  await clock.advance(30_000);
  assert.equal(signer.key.failure, undefined);
  assert.match(told.at(-1) ?? "", /signs again/);
  const signedUntil = module.signed;
  await clock.advance(299_000);
  assert.equal(module.signed, signedUntil, "five minutes while all is well");
  await clock.advance(2000);
  assert.equal(module.signed, signedUntil + 1);
  checks.cancel();

  const other = moduleWith();
  await assert.rejects(openReferredAuthority(deps, { ...at, module: other }), {
    code: "authority-key-wrong",
  });
});

const leavesFor = {
  subject: spiffeId(trustDomain, "hub", "main"),
  administrator: spiffeId(trustDomain, "user", "admin"),
  names: { dns: ["api.hub.skerry"], ips: ["127.0.0.1"] },
};
const untilMsOf = (chainPem: string) => readCertificatesPem(chainPem)[0]?.notAfterMs ?? 0;

/** Counts what its module signs from here on. */
async function held(it: ReturnType<typeof given>) {
  const module = moduleWith();
  const authority: Authority = await openReferredAuthority(it.deps, { ...it.at, module });
  const keptPath = join(it.at.folder, "own.json");
  const stop = new AbortController();
  const start = (more: Partial<Parameters<typeof keepOwnCredentials>[1]> = {}) =>
    keepOwnCredentials(
      { ...it.deps, authority },
      { ...leavesFor, keptPath, signal: stop.signal, ...more },
    );
  return { module, authority, keptPath, stop, start };
}

test("I24: a start with good leaves needs no key; for other names, or when they ran out, it does", async () => {
  using it = given();
  const { module, keptPath, start } = await held(it);
  const first = await start();
  first.stop();
  assert.equal(statSync(keptPath).mode & 0o777, 0o600);
  const signed = module.signed;
  const again = await start();
  again.stop();
  assert.equal(module.signed, signed);
  for (const part of ["identity", "serving", "administrator"] as const)
    assert.deepEqual(again[part], first[part]);

  const renewals: [string, () => Promise<{ stop(): void }>][] = [
    ["another address", () => start({ names: { ...leavesFor.names, ips: ["127.0.0.2"] } })],
    ["another name", () => start({ subject: spiffeId(trustDomain, "hub", "other") })],
    [
      "31 days later",
      async () => {
        it.clock.stepWall(31 * dayMs);
        return await start();
      },
    ],
    [
      "a damaged file",
      async () => {
        writeFileSync(keptPath, "torn");
        return await start();
      },
    ],
  ];
  for (const [what, begin] of renewals) {
    const before = module.signed;
    (await begin()).stop();
    assert.equal(module.signed, before + 3, what);
    await start().then((own) => own.stop());
  }
});

test("I24: without good leaves a start waits for the key, and ends when it is asked to", async () => {
  using it = given();
  const { module, stop, start, keptPath } = await held(it);
  module.isAway = true;
  const own = start();
  await it.clock.advance(40_000);
  assert.ok(!existsSync(keptPath));
  module.isAway = false;
  await it.clock.advance(15_000);
  (await own).stop();
  module.isAway = true;
  it.clock.stepWall(40 * dayMs);
  const waiting = assert.rejects(start(), (reason) => reason === "SIGTERM");
  await it.clock.advance(1);
  stop.abort("SIGTERM");
  await waiting;
});

test("I24: leaves are renewed at half of their life, and again soon where that failed", async () => {
  using it = given();
  const { module, start } = await held(it);
  const own = await start();
  let changes = 0;
  own.onChange(() => changes++);
  const firstUntilMs = untilMsOf(own.identity.chainPem);
  module.isAway = true;
  await it.clock.advance(15 * dayMs + 60_000);
  await waitFor(() => it.told.some((text) => /cannot be renewed/.test(text)), {
    what: "a renewal that fails",
  });
  assert.equal(untilMsOf(own.identity.chainPem), firstUntilMs);
  module.isAway = false;
  let minutes = 0;
  const renewed = async () => {
    await it.clock.advance(60_000);
    minutes++;
    return changes === 1;
  };
  await waitFor(renewed, { what: "new leaves" });
  assert.ok(minutes < 60, `${minutes} minutes`);
  for (const part of ["identity", "serving", "administrator"] as const)
    assert.ok(untilMsOf(own[part].chainPem) > firstUntilMs + 14 * dayMs, part);
  own.stop();
});

test("I24: leaves that cannot be kept serve all the same, and a wrong key is not waited for", async () => {
  using it = given();
  const { start, keptPath, authority } = await held(it);
  mkdirSync(`${keptPath}.new`);
  const own = await start();
  assert.ok(own.identity.chainPem);
  assert.match(it.told.join("\n"), /are not kept/);
  own.stop();
  const wrong = new SkerryError({ code: "authority-key-wrong", message: "wrong" });
  const issueCredentials = () => Promise.reject(wrong);
  await assert.rejects(
    keepOwnCredentials(
      { ...it.deps, authority: { ...authority, hub: undefined, issueCredentials } },
      { ...leavesFor, keptPath, signal: new AbortController().signal },
    ),
    wrong,
  );
});
