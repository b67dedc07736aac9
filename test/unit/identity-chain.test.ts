import { strict as assert } from "node:assert";
import { X509Certificate } from "node:crypto";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  createAuthority,
  createRequest,
  generateKeyPem,
  openAuthority,
  readCertificate,
  readCertificatesPem,
  signIntermediate,
  spiffeId,
  toPem,
  verifyAgainst,
  verifyChain,
  verifyServing,
  type Trust,
} from "../../src/identity/index.ts";
import { issueCertificate } from "../../src/identity/ca/issue.ts";
import { pemKey } from "../../src/identity/ca/signing-key.ts";
import { systemRandom } from "../../src/runtime/clock/index.ts";
import {
  dayMs,
  derOf,
  forge,
  temporaryAuthority,
  temporaryFolder,
  testNowMs,
} from "../support/identity.ts";

const domain = "cell-a.skerry";
const cell = await temporaryAuthority(domain, { nowMs: testNowMs });
/** Same name, other key: what Node would report as a time error when its leaf is out of date. */
const impostor = await temporaryAuthority(domain, { nowMs: testNowMs });
const hub = await temporaryAuthority("hub.skerry", { nowMs: testNowMs, pathLength: 2 });
const keyPem = generateKeyPem();
const n1 = spiffeId(domain, "node", "n1");
const inTime = { notBeforeMs: testNowMs - dayMs, notAfterMs: testNowMs + dayMs };

const reason = (chain: readonly Uint8Array[], trust: Trust = cell.trust, nowMs = testNowMs) => {
  const verdict = verifyChain(chain, trust, nowMs);
  return verdict.ok ? "ok" : verdict.reason;
};

test("I1: an identity leaf of the cell's authority is accepted and says who it is", async () => {
  const chain = derOf(await cell.issueIdentity(await createRequest(keyPem), n1));
  const verdict = verifyChain(chain, cell.trust, testNowMs);
  assert.ok(verdict.ok);
  assert.deepEqual(verdict.subject, n1);
  assert.equal(verdict.untilMs, testNowMs + 30 * dayMs);
});

test("I2: a foreign authority of the same name is refused as foreign whatever the clock says", async () => {
  const uris = [n1.id];
  const { signer } = impostor;
  const times = [
    inTime,
    { notBeforeMs: testNowMs + dayMs, notAfterMs: testNowMs + 2 * dayMs },
    { notBeforeMs: testNowMs - 2 * dayMs, notAfterMs: testNowMs - dayMs },
  ];
  for (const time of times) {
    const leaf = await forge({ signer, keyPem, uris, ...time });
    for (const nowMs of [0, testNowMs, testNowMs + 9000 * dayMs]) {
      assert.equal(reason([leaf], cell.trust, nowMs), "foreign");
      const lenient = verifyChain([leaf], cell.trust, nowMs, { time: "raise-to-leaf" });
      assert.equal(lenient.ok ? "ok" : lenient.reason, "foreign");
    }
  }
  const withAnchor = [
    await forge({ signer, keyPem, uris, ...inTime }),
    ...derOf(impostor.trust.anchorsPem[0] ?? ""),
  ];
  assert.equal(reason(withAnchor), "foreign");
});

test("I3: a leaf has exactly one SPIFFE id, of the trust domain, and no other name", async () => {
  const { signer } = cell;
  const refusals: [Parameters<typeof forge>[0], string][] = [
    [{ signer, keyPem, ...inTime }, "identity"],
    [
      { signer, keyPem, uris: [n1.id, spiffeId(domain, "user", "admin").id], ...inTime },
      "identity",
    ],
    [{ signer, keyPem, uris: [n1.id, n1.id], ...inTime }, "identity"],
    [{ signer, keyPem, uris: [n1.id], dns: ["x.cell-a.skerry"], ...inTime }, "identity"],
    [{ signer, keyPem, uris: [n1.id], ips: ["127.0.0.1"], ...inTime }, "identity"],
    [{ signer, keyPem, uris: [`${n1.id}", URI:"x`], ...inTime }, "identity"],
    [{ signer, keyPem, uris: ["https://cell-a.skerry/node/n1"], ...inTime }, "identity"],
    [{ signer, keyPem, uris: ["spiffe://cell-a.skerry/node/n1/x"], ...inTime }, "identity"],
    [{ signer, keyPem, uris: ["spiffe://cell-b.skerry/node/n1"], ...inTime }, "wrong-trust-domain"],
    [{ signer, keyPem, uris: [n1.id], authority: {}, ...inTime }, "identity"],
    [{ signer, keyPem, uris: [n1.id], criticalExtension: "1.2.3.4", ...inTime }, "constraints"],
  ];
  for (const [options, expected] of refusals)
    assert.equal(reason([await forge(options)]), expected, JSON.stringify(options.uris));
});

test("I4: validity is judged at the cell's time", async () => {
  const leaf = await forge({ signer: cell.signer, keyPem, uris: [n1.id], ...inTime });
  assert.equal(reason([leaf], cell.trust, testNowMs), "ok");
  assert.equal(reason([leaf], cell.trust, testNowMs + 2 * dayMs), "expired");
  assert.equal(reason([leaf], cell.trust, testNowMs - 2 * dayMs), "not-yet-valid");
  assert.ok(verifyChain([leaf], cell.trust, 0, { time: "raise-to-leaf" }).ok);
  assert.ok(!verifyChain([leaf], cell.trust, testNowMs + 2 * dayMs, { time: "raise-to-leaf" }).ok);
  assert.ok(verifyChain([leaf], cell.trust, testNowMs + 2 * dayMs, { time: "ignore-expiry" }).ok);
});

const registry = () => {
  const pinByDomain = new Map<string, string>();
  return {
    claim: async (trustDomain: string, pin: string) => {
      if (!pinByDomain.has(trustDomain)) pinByDomain.set(trustDomain, pin);
      return pinByDomain.get(trustDomain) ?? "";
    },
    find: async (trustDomain: string) => pinByDomain.get(trustDomain),
  };
};

/** A hub at which no cell has enrolled yet. */
const hubWithRegistry = () => ({
  random: systemRandom,
  nowMs: () => testNowMs,
  authority: hub,
  registry: registry(),
});

test("I5: with the hub's intermediate expired the cell goes on, only the hub refuses", async () => {
  const own = await temporaryAuthority(domain, { nowMs: testNowMs });
  const deps = hubWithRegistry();
  const request = await createRequest(own.signer.key.keyPem);
  const pem = await signIntermediate(deps, { trustDomain: domain, request });
  const leaf = await forge({
    signer: own.signer,
    keyPem,
    uris: [n1.id],
    notBeforeMs: testNowMs - dayMs,
    notAfterMs: testNowMs + 200 * dayMs,
  });
  const chain = [leaf, ...derOf(pem)];
  const atHub: Trust = { trustDomain: domain, anchorsPem: hub.trust.anchorsPem };
  assert.equal(reason(chain, atHub, testNowMs), "ok");
  assert.equal(reason(chain, own.trust, testNowMs), "ok");
  assert.equal(reason(chain, atHub, testNowMs + 100 * dayMs), "expired");
  assert.equal(reason(chain, own.trust, testNowMs + 100 * dayMs), "ok");
});

test("I6: a cell's intermediate speaks for its own trust domain only, and for no IP address", async () => {
  const own = await temporaryAuthority(domain, { nowMs: testNowMs });
  const deps = hubWithRegistry();
  const request = await createRequest(own.signer.key.keyPem);
  const intermediate = derOf(await signIntermediate(deps, { trustDomain: domain, request }));
  const stolen = await forge({
    signer: own.signer,
    keyPem,
    uris: ["spiffe://cell-b.skerry/node/n1"],
    ...inTime,
  });
  const cellB: Trust = { trustDomain: "cell-b.skerry", anchorsPem: hub.trust.anchorsPem };
  assert.equal(reason([stolen, ...intermediate], cellB), "constraints");
  const verdict = verifyAgainst(
    [stolen, ...intermediate].map(readCertificate),
    [{ trustDomain: domain, anchorsPem: hub.trust.anchorsPem }],
    testNowMs,
  );
  assert.equal(verdict.ok ? "ok" : verdict.reason, "wrong-trust-domain");
  for (const names of [{ ips: ["10.0.0.1"] }, { dns: ["api.cell-b.skerry"] }]) {
    const serving = await forge({ signer: own.signer, keyPem, ...names, ...inTime });
    const served = verifyServing(
      [serving, ...intermediate].map(readCertificate),
      cellB,
      testNowMs,
      {
        host: names.ips?.[0] ?? names.dns?.[0] ?? "",
      },
    );
    assert.equal(served.ok ? "ok" : served.reason, "constraints");
  }
});

test("I6: a trust domain belongs to the key that enrolled it first", async () => {
  const deps = hubWithRegistry();
  const sign = async (key: string, trustDomain: string) =>
    signIntermediate(deps, { trustDomain, request: await createRequest(key) });
  await sign(cell.signer.key.keyPem, domain);
  await sign(cell.signer.key.keyPem, domain);
  await assert.rejects(sign(impostor.signer.key.keyPem, domain), { code: "trust-domain-taken" });
  await assert.rejects(sign(impostor.signer.key.keyPem, "hub.skerry"), {
    code: "invalid-identity",
  });
  await assert.rejects(sign(impostor.signer.key.keyPem, "Bad Domain"), {
    code: "invalid-identity",
  });
});

test("I7: a leaf's key signs nothing, path lengths hold, self-issued authorities are not followed", async () => {
  const leafKey = generateKeyPem();
  const nodeLeaf = await forge({
    signer: cell.signer,
    keyPem: leafKey,
    uris: [n1.id],
    subject: "CN=n1",
    ...inTime,
  });
  const byLeaf = await forge({
    signer: { key: pemKey(leafKey), name: "n1" },
    keyPem,
    uris: [n1.id],
    ...inTime,
  });
  assert.equal(reason([byLeaf, nodeLeaf]), "foreign");

  const keys = [generateKeyPem(), generateKeyPem()] as const;
  const middle = await forge({
    signer: cell.signer,
    keyPem: keys[0],
    subject: "CN=middle",
    authority: {},
    ...inTime,
  });
  const low = await forge({
    signer: { key: pemKey(keys[0]), name: "middle" },
    keyPem: keys[1],
    subject: "CN=low",
    authority: {},
    ...inTime,
  });
  const allowed = await forge({
    signer: { key: pemKey(keys[0]), name: "middle" },
    keyPem,
    uris: [n1.id],
    ...inTime,
  });
  const tooDeep = await forge({
    signer: { key: pemKey(keys[1]), name: "low" },
    keyPem,
    uris: [n1.id],
    ...inTime,
  });
  assert.equal(reason([allowed, middle]), "ok");
  assert.equal(reason([tooDeep, low, middle]), "constraints");

  const selfIssued = await forge({
    signer: cell.signer,
    keyPem: keys[0],
    subject: `CN=${cell.signer.name}`,
    authority: {},
    ...inTime,
  });
  const below = await forge({
    signer: { key: pemKey(keys[0]), name: cell.signer.name },
    keyPem,
    uris: [n1.id],
    ...inTime,
  });
  assert.equal(reason([below, selfIssued]), "foreign");
});

test("I8: the authority's folder survives, is private, is never replaced, and damage is noticed", async () => {
  using folder = temporaryFolder();
  const deps = { random: systemRandom, nowMs: () => testNowMs };
  assert.equal(openAuthority(deps, folder.path), undefined);
  const created = await createAuthority(deps, { folder: folder.path, trustDomain: domain });
  assert.equal(openAuthority(deps, folder.path)?.pin, created.pin);
  const path = join(folder.path, "ca.json");
  assert.equal(statSync(path).mode & 0o777, 0o600);
  await assert.rejects(createAuthority(deps, { folder: folder.path, trustDomain: domain }), {
    code: "authority-exists",
  });
  assert.throws(
    () => created.setHub({ intermediatePem: impostor.trust.anchorsPem[0] ?? "", trust: hub.trust }),
    {
      code: "invalid-intermediate",
    },
  );
  writeFileSync(path, readFileSync(path).subarray(0, 300));
  assert.throws(() => openAuthority(deps, folder.path), { code: "file-torn" });
});

test("I22: what another key signed, or signed wrongly, is given to nobody", async () => {
  const { key, name } = cell.signer;
  const signatures: [string, (bytes: Uint8Array) => Promise<Uint8Array>][] = [
    ["of another key", (bytes) => impostor.signer.key.sign(bytes)],
    ["over something else", () => key.sign(Buffer.from("something else"))],
    ["garbage", async () => new Uint8Array(70).fill(7)],
    ["nothing", async () => new Uint8Array()],
  ];
  for (const [what, sign] of signatures) {
    const issued = issueCertificate(
      { random: systemRandom },
      {
        signer: { key: { publicKey: key.publicKey, sign }, name },
        publicKey: pemKey(keyPem).publicKey,
        nowMs: testNowMs,
        lifetimeMs: dayMs,
        shape: { kind: "identity", subject: n1 },
      },
    );
    await assert.rejects(issued, { code: "authority-key-wrong" }, what);
  }
});

test("I9: a request proves its key; nothing else in it is believed", async () => {
  const request = await createRequest(keyPem);
  const torn = request.slice();
  torn[torn.length - 5]! ^= 1;
  await assert.rejects(cell.issueIdentity(torn, n1), { code: "invalid-request" });
  await assert.rejects(cell.issueIdentity(new Uint8Array(9), n1), { code: "invalid-request" });
  await assert.rejects(cell.issueIdentity(request, spiffeId("cell-b.skerry", "node", "n1")), {
    code: "invalid-identity",
  });
  await assert.rejects(cell.issueServing(request, { dns: ["a b"] }), { code: "invalid-name" });
  await assert.rejects(cell.issueServing(request, { ips: ["300.1.1.1"] }), {
    code: "invalid-name",
  });
});

test("serving leaves are judged by the name asked for and are no identity", async () => {
  const chain = await cell.issueServing(await createRequest(keyPem), {
    dns: ["api.cell-a.skerry"],
    ips: ["127.0.0.11", "fd00::12"],
  });
  const certificates = readCertificatesPem(chain);
  const served = (host: string) => verifyServing(certificates, cell.trust, testNowMs, { host }).ok;
  assert.ok(served("api.cell-a.skerry") && served("127.0.0.11") && served("fd00:0::12"));
  assert.ok(!served("127.0.0.12") && !served("api.cell-b.skerry") && !served("cell-a.skerry"));
  assert.equal(reason(derOf(chain)), "identity");
});

test("OpenSSL agrees with the certificates that we issue", async () => {
  const chain = await cell.issueIdentity(await createRequest(keyPem), n1);
  const leaf = new X509Certificate(chain);
  const anchor = new X509Certificate(cell.trust.anchorsPem[0] ?? "");
  assert.ok(leaf.checkIssued(anchor) && leaf.verify(anchor.publicKey) && anchor.ca && !leaf.ca);
  assert.equal(leaf.subjectAltName, `URI:${n1.id}`);
});

test("property: any damage to a chain is refused or leaves it the same certificate", async () => {
  const [leaf = new Uint8Array()] = derOf(
    await cell.issueIdentity(await createRequest(keyPem), n1),
  );
  fc.assert(
    fc.property(fc.nat(leaf.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const damaged = new Uint8Array(leaf);
      damaged[at]! ^= flip;
      assert.notEqual(reason([damaged]), "ok");
    }),
    { numRuns: 300 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
      assert.notEqual(reason([bytes]), "ok");
    }),
  );
  assert.equal(toPem(leaf), new X509Certificate(leaf).toString());
});
