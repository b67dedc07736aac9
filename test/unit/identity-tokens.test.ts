import { strict as assert } from "node:assert";
import { sign } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  createAppTokenVerifier,
  createJoinToken,
  createLedgerTokenStore,
  mintAppToken,
  parseJoinToken,
  redeemJoinToken,
  spiffeId,
  toPem,
  verifyAppToken,
} from "../../src/identity/index.ts";
import { seededRandom } from "../../src/lib/random.ts";
import {
  dayMs,
  derOf,
  forge,
  privateKeyOf,
  temporaryAuthority,
  testNowMs,
} from "../support/identity.ts";
import { memoryTokenLedger } from "../support/tokens.ts";

const domain = "cell-a.skerry";
const cell = await temporaryAuthority(domain, { nowMs: testNowMs });
const impostor = await temporaryAuthority(domain, { nowMs: testNowMs });

function tokens(ledger = memoryTokenLedger(), clock = { nowMs: testNowMs }) {
  const nowMs = () => clock.nowMs;
  const store = createLedgerTokenStore({ ledger, nowMs });
  return {
    store,
    clock,
    create: (options: { name?: string } = {}) =>
      createJoinToken(
        { random: seededRandom(7), store, nowMs },
        { cell: "cell-a", pin: cell.pin, ...options },
      ),
    redeem: (token: string, by = "key-1", name = "n1", trustDomain = domain) =>
      redeemJoinToken({ store, nowMs }, { token, trustDomain, name, by }),
  };
}

test("I10: a join token is taken once; its own key may ask again, no other", async () => {
  const { create, redeem } = tokens();
  const { token } = await create();
  await redeem(token);
  await redeem(token);
  await assert.rejects(redeem(token, "key-2"), { code: "token-used" });
});

test("I10: of many at once one gets the token, through several stores on one ledger", async () => {
  const ledger = memoryTokenLedger();
  const stores = Array.from({ length: 8 }, () => tokens(ledger));
  const { token } = await (stores[0]?.create() ?? Promise.reject(new Error("no store")));
  const outcomes = await Promise.allSettled(
    stores.map(({ redeem }, index) => redeem(token, `key-${index}`)),
  );
  assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
  for (const outcome of outcomes)
    if (outcome.status === "rejected") assert.equal(outcome.reason.code, "token-used");
});

test("I11: expired, unknown, misnamed and foreign tokens are refused by name and stay unspent", async () => {
  const { create, redeem, clock } = tokens();
  const { token } = await create({ name: "n1" });
  await assert.rejects(redeem(token, "key-1", "n2"), { code: "token-wrong-name" });
  await assert.rejects(redeem(token, "key-1", "n1", "cell-b.skerry"), { code: "invalid-token" });
  const guessed = token.replace(/\.[^.]{43}\./, `.${"A".repeat(43)}.`);
  await assert.rejects(redeem(guessed), { code: "token-unknown" });
  const other = token.replace(/\.[a-f0-9]{12}\./, ".000000000000.");
  await assert.rejects(redeem(other), { code: "token-unknown" });
  clock.nowMs += 3_600_001;
  await assert.rejects(redeem(token), { code: "token-expired" });
  clock.nowMs -= 3_600_001;
  await redeem(token);
});

test("I11: a malformed token is refused, naming the part", async () => {
  const good = `skt1.cell-a.0123456789ab.${"s".repeat(43)}.${"p".repeat(43)}`;
  assert.equal(parseJoinToken(`  ${good}\n`).cell, "cell-a");
  assert.equal(parseJoinToken(good.replace("cell-a", "cell-a.acme")).cell, "cell-a.acme");
  const cases: [string, RegExp][] = [
    ["", /skt1/],
    [good.replace("skt1", "skt2"), /skt1/],
    [good.replace("cell-a", "Cell A"), /cell name/],
    [good.replace("cell-a.", ""), /cell name/],
    [good.replace("0123456789ab", "../../etc/pa"), /cell name|id/],
    [good.replace("0123456789ab", "0123456789a"), /id/],
    [good.slice(0, -1), /hash/],
    [good.replace("sss", "ss"), /secret/],
    [`${good}${"x".repeat(600)}`, /characters/],
  ];
  for (const [text, pattern] of cases)
    assert.throws(() => parseJoinToken(text), { code: "invalid-token", message: pattern }, text);
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (text) => {
      assert.throws(() => parseJoinToken(text), { code: "invalid-token" });
    }),
  );
});

test("I10: the secret is not stored, and long expired tokens are cleaned away", async () => {
  const ledger = memoryTokenLedger();
  const { create, clock, store } = tokens(ledger);
  const { token, id } = await create();
  const { secret } = parseJoinToken(token);
  assert.ok(!JSON.stringify(await store.get(id)).includes(secret));
  clock.nowMs += 3 * dayMs;
  await createJoinToken(
    { random: seededRandom(8), store, nowMs: () => clock.nowMs },
    { cell: "cell-a", pin: cell.pin },
  );
  assert.equal((await ledger.list("")).items.length, 1);
  assert.equal(await store.get(id), undefined);
  await assert.rejects(store.get("../ca"), { code: "invalid-token" });
});

const n1 = spiffeId(domain, "node", "n1");
const credentials = await cell.issueCredentials(n1);
const sensor = spiffeId(domain, "app", "sensor");
const mint = (subject = sensor, nowMs = testNowMs, by = credentials) =>
  mintAppToken({ nowMs: () => nowMs, credentials: by }, { subject, lifetimeMs: 3_600_000 }).token;
const reason = (token: string, nowMs = testNowMs, trust = cell.trust) => {
  const verdict = verifyAppToken(token, trust, nowMs, 60_000);
  return verdict.ok ? "ok" : verdict.reason;
};

test("I12: an application token says whom it speaks for, at any node of the cell", () => {
  const subjects = [
    sensor,
    spiffeId(domain, "ns", "shop", "sa", "web"),
    spiffeId(domain, "user", "admin"),
  ];
  for (const subject of subjects) {
    const verdict = verifyAppToken(mint(subject), cell.trust, testNowMs, 0);
    assert.ok(verdict.ok);
    assert.deepEqual(verdict.subject, subject);
    assert.equal(verdict.issuer, n1.id);
  }
  assert.equal(reason(mint(), testNowMs + 3_600_000 + 59_000), "ok");
  assert.equal(reason(mint(), testNowMs + 3_600_000 + 61_000), "expired");
  assert.equal(reason(mint(), testNowMs - 59_000), "ok");
  assert.equal(reason(mint(), testNowMs - 61_000), "not-yet-valid");
});

test("I12: only nodes mint, never for nodes, hubs or another cell", async () => {
  for (const subject of [n1, spiffeId(domain, "hub", "main"), spiffeId("b.skerry", "app", "x")])
    assert.throws(() => mint(subject), { code: "invalid-identity" });
  const app = await cell.issueCredentials(sensor);
  assert.throws(() => mint(sensor, testNowMs, app), { code: "invalid-identity" });

  // The same by one who writes the token by hand with a key that the cell did certify.
  const byHand = (by: typeof app, payload: object) => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const x5c = derOf(by.chainPem).map((der) => Buffer.from(der).toString("base64"));
    const signed = `${part({ alg: "ES256", x5c })}.${part(payload)}`;
    const key = privateKeyOf(by.keyPem);
    const mark = sign("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" });
    return `${signed}.${mark.toString("base64url")}`;
  };
  const times = { aud: domain, iat: testNowMs / 1000, exp: testNowMs / 1000 + 60 };
  assert.equal(reason(byHand(credentials, { sub: sensor.id, iss: n1.id, ...times })), "ok");
  assert.equal(reason(byHand(app, { sub: sensor.id, iss: sensor.id, ...times })), "subject");
  assert.equal(reason(byHand(credentials, { sub: n1.id, iss: n1.id, ...times })), "subject");
  const foreignSubject = "spiffe://b.skerry/app/x";
  assert.equal(
    reason(byHand(credentials, { sub: foreignSubject, iss: n1.id, ...times })),
    "subject",
  );
  const foreign = await impostor.issueCredentials(n1);
  assert.equal(reason(byHand(foreign, { sub: sensor.id, iss: n1.id, ...times })), "issuer");
  const old = await forge({
    signer: cell.signer,
    keyPem: credentials.keyPem,
    uris: [n1.id],
    notBeforeMs: testNowMs - 2 * dayMs,
    notAfterMs: testNowMs - dayMs,
  });
  const expired = { keyPem: credentials.keyPem, chainPem: toPem(old) };
  assert.equal(reason(byHand(expired, { sub: sensor.id, iss: n1.id, ...times })), "issuer");
});

test("I12: a token changed anywhere is refused, and none of it crashes", () => {
  const token = mint();
  fc.assert(
    fc.property(
      fc.nat(token.length - 1),
      fc.constantFrom("A", "z", "0", ".", "_", "\u0000"),
      (at, by) => {
        if (token[at] === by) return;
        const verdict = reason(token.slice(0, at) + by + token.slice(at + 1));
        // The last character of a base64url part carries bits that mean nothing.
        assert.ok(verdict !== "ok" || at === token.length - 1);
      },
    ),
    { numRuns: 400 },
  );
  for (const text of ["", ".", "..", "a.b.c", "bnVsbA.bnVsbA.x", "x".repeat(10_000)])
    assert.equal(reason(text), "malformed");
});

test("I13: remembered tokens end with their time, their leaf and the trust", () => {
  let nowMs = testNowMs;
  let trust = cell.trust;
  const verifier = createAppTokenVerifier(
    { nowMs: () => nowMs, trust: () => trust },
    { maxClockSkewMs: 0, tokensMax: 2 },
  );
  const token = mint();
  assert.ok(verifier.verify(token).ok);
  assert.equal(verifier.verify(token), verifier.verify(token), "remembered");
  for (let i = 0; i < 5; i++) assert.ok(verifier.verify(mint(sensor, testNowMs - i * 1000)).ok);
  trust = impostor.trust;
  assert.ok(!verifier.verify(token).ok);
  trust = cell.trust;
  assert.ok(verifier.verify(token).ok);
  nowMs += 3_600_001;
  assert.ok(!verifier.verify(token).ok);
});
