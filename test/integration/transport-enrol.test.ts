import { strict as assert } from "node:assert";
import { X509Certificate } from "node:crypto";
import { test, type TestContext } from "node:test";
import { connect as connectTls } from "node:tls";
import {
  acceptCellAnswer,
  cellRequest,
  clientTlsOptions,
  createAuthority,
  createCellEnrolment,
  createJoinToken,
  createNodeEnrolment,
  intermediateIsDue,
  openNodeIdentity,
  parseJoinToken,
  prepareJoin,
  startRenewal,
  trustRequest,
  verifyChain,
  type Trust,
} from "../../src/identity/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { systemRandom } from "../../src/runtime/clock/index.ts";
import { enrol, type EnrolHandler, type Listener } from "../../src/transport/index.ts";
import { dayMs, derOf, temporaryAuthority, temporaryFolder } from "../support/identity.ts";
import {
  frozenClock,
  testCell,
  testDeps,
  testListener,
  text,
  utf8,
  type TestCell,
} from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";
import { memoryTokens } from "../support/tokens.ts";

const cell = await testCell();
const n1 = await cell.credentials("node", "n1");
const tokens = memoryTokens(testDeps);
const tokenFor = async (
  options: { name?: string; lifetimeMs?: number; from?: TestCell; cell?: string } = {},
) => {
  const { from = cell, cell: name = "cell-a", ...rest } = options;
  const deps = { random: systemRandom, store: tokens, nowMs: testDeps.nowMs };
  return (await createJoinToken(deps, { cell: name, pin: from.authority.pin, ...rest })).token;
};
const enrolNode = createNodeEnrolment({ authority: cell.authority, tokens, nowMs: testDeps.nowMs });

/** Closed with the test, however that ends. */
async function server(
  t: TestContext,
  options: {
    enrol?: EnrolHandler;
    of?: TestCell;
    credentials?: typeof n1;
    deps?: typeof testDeps;
  } = {},
): Promise<Listener> {
  const { of = cell } = options;
  const credentials = options.credentials ?? (await of.credentials("node", "n1"));
  const listener = await testListener(
    of,
    credentials,
    { enrol: options.enrol ?? enrolNode },
    options.deps,
  );
  t.after(() => listener.close());
  return listener;
}

const send = (listener: Listener, token: string, request: Uint8Array, nowMs = Date.now()) => {
  const { trustDomain, pin } = parseJoinToken(token);
  return enrol(
    { ...testDeps, nowMs: () => nowMs },
    { host: "127.0.0.1", port: listener.port, trustDomain, pin, request, timeoutMs: 30_000 },
  );
};

async function join(
  listener: Listener,
  token: string,
  options: { node?: string; nowMs?: number } = {},
) {
  using folder = temporaryFolder();
  const node = options.node ?? "n5";
  const prepared = await prepareJoin({
    folder: folder.path,
    token,
    node,
    addresses: ["127.0.0.15"],
  });
  const answer = await send(listener, token, prepared.request, options.nowMs);
  prepared.accept(answer);
  const identity = openNodeIdentity(folder.path);
  assert.ok(identity);
  return identity;
}

test("I10: a node joins with a token and holds a working identity", async (t) => {
  const listener = await server(t);
  const identity = await join(listener, await tokenFor());
  assert.equal(identity.subject.id, "spiffe://cell-a.skerry/node/n5");
  assert.ok(verifyChain(derOf(identity.identity.chainPem), cell.trust, Date.now()).ok);
  assert.deepEqual(identity.trusts, [cell.trust]);
  assert.deepEqual(identity.pins, [cell.authority.pin]);
});

test("I10: of many nodes with one token one joins, also at the same time", async (t) => {
  const listener = await server(t);
  const token = await tokenFor();
  const outcomes = await Promise.allSettled(
    Array.from({ length: 6 }, (_, index) => join(listener, token, { node: `m${index}` })),
  );
  assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
  for (const outcome of outcomes)
    if (outcome.status === "rejected") assert.equal(outcome.reason.code, "token-used");
});

test("I10: an answer lost on the way costs no new token", async (t) => {
  const listener = await server(t);
  using folder = temporaryFolder();
  const token = await tokenFor();
  const prepared = await prepareJoin({ folder: folder.path, token, node: "n6", addresses: [] });
  await send(listener, token, prepared.request);
  assert.equal(openNodeIdentity(folder.path), undefined);
  prepared.accept(await send(listener, token, prepared.request));
  assert.equal(openNodeIdentity(folder.path)?.subject.path[1], "n6");
});

test("I11: expired, misnamed and unknown tokens are refused by name over the wire", async (t) => {
  const listener = await server(t);
  await assert.rejects(join(listener, await tokenFor({ lifetimeMs: -1000 })), {
    code: "token-expired",
  });
  await assert.rejects(join(listener, await tokenFor({ name: "other" })), {
    code: "token-wrong-name",
  });
  const unknown = (await tokenFor()).replace(/\.[a-f0-9]{12}\./, ".abcdefabcdef.");
  await assert.rejects(join(listener, unknown), { code: "token-unknown" });
  await assert.rejects(join(listener, await tokenFor(), { node: "Bad Name" }), {
    code: "invalid-identity",
  });
});

test("I15: the secret goes to nobody but a machine of the pinned authority", async (t) => {
  const impostor = await testCell();
  const received: string[] = [];
  const listening: EnrolHandler = async (request) => {
    received.push(text(request));
    return utf8("{}");
  };
  const servers = [
    // Same name, own authority; and one that shows the true anchor without holding its leaf.
    await server(t, { of: impostor, enrol: listening }),
    await server(t, {
      of: { ...impostor, trust: cell.trust },
      credentials: await impostor.credentials("node", "n1"),
      enrol: listening,
    }),
    // A certificate of the right authority, but an application's.
    await server(t, { credentials: await cell.credentials("app", "sensor"), enrol: listening }),
  ];
  const codes = ["enrol-wrong-authority", "peer-refused", "peer-refused"];
  const token = await tokenFor();
  for (const [index, each] of servers.entries())
    await assert.rejects(join(each, token), { code: codes[index] });
  const tampered = `${token.slice(0, -3)}AAA`;
  const honest = await server(t, { enrol: listening });
  servers.push(honest);
  await assert.rejects(join(honest, tampered), { code: "enrol-wrong-authority" });
  assert.deepEqual(received, []);
});

test("I16: a machine whose clock was never set joins", async (t) => {
  const listener = await server(t);
  const identity = await join(listener, await tokenFor(), { nowMs: 0 });
  assert.equal(identity.subject.path[1], "n5");
});

test("T19: strangers are bounded: size, rate, time; what fails inside is not told", async (t) => {
  const listener = await server(t, {
    // No address is given more while it waits for its own answers.
    deps: { ...testDeps, clock: frozenClock },
    enrol: async () => {
      throw new Error("a secret of the inside");
    },
  });
  const token = await tokenFor();
  await assert.rejects(
    send(listener, token, utf8("x")),
    (error: Error & { code: string }) =>
      error.code === "internal" && !error.message.includes("secret"),
  );
  await assert.rejects(send(listener, token, new Uint8Array(65 * 1024)), {
    code: "enrol-protocol",
  });
  const many = await Promise.allSettled(
    Array.from({ length: 20 }, () => send(listener, token, utf8("x"))),
  );
  const busy = many.filter(
    (outcome) => outcome.status === "rejected" && outcome.reason.code === "enrol-busy",
  );
  assert.ok(busy.length >= 12, `${busy.length} were told to wait`);
  await assert.rejects(send(listener, token, utf8("x")), { code: "enrol-busy", retryable: true });
});

test("T19: a port that does not enrol, or is closed, is named", async (t) => {
  const listener = await testListener(cell, n1);
  t.after(() => listener.close());
  const token = await tokenFor();
  await assert.rejects(send(listener, token, utf8("x")), {
    code: "tls-terminated",
    message: /\(ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL\).* or the port is the wrong one$/,
  });
  await listener.close();
  await assert.rejects(send(listener, token, utf8("x")), { code: "peer-unreachable" });
});

test("I17: requests of the wrong kind or with missing fields are refused, naming the field", async () => {
  const cases: [string, RegExp][] = [
    ["", /JSON/],
    ["[]", /kind/],
    ['{"kind":"rob"}', /kind/],
    ['{"kind":"join-cell","token":"t","cell":"c","request":"r"}', /hub/],
    ['{"kind":"join-node","node":"n"}', /token/],
    [
      '{"kind":"join-node","token":"t","node":"n","identityRequest":"a","servingRequest":"b"}',
      /addresses/,
    ],
    [
      '{"kind":"join-node","token":"t","node":"n","identityRequest":"a","servingRequest":"b","addresses":["x"]}',
      /addresses/,
    ],
  ];
  for (const [request, pattern] of cases)
    await assert.rejects(enrolNode(utf8(request)), { code: "invalid-enrolment", message: pattern });
  const random = seededRandom(5);
  for (let i = 0; i < 200; i++)
    await assert.rejects(enrolNode(random.bytes(random.integer(300))), {
      code: "invalid-enrolment",
    });
});

async function joined(nowMs: () => number, options: { mayRenew?: () => Promise<boolean> } = {}) {
  const folder = temporaryFolder();
  const authority = await createAuthority(
    { random: systemRandom, nowMs },
    { folder: `${folder.path}/ca`, trustDomain: "cell-a.skerry" },
  );
  const store = memoryTokens({ nowMs });
  const handler = createNodeEnrolment({ authority, tokens: store, nowMs, ...options });
  const { token } = await createJoinToken(
    { random: systemRandom, store, nowMs },
    { cell: "cell-a", pin: authority.pin },
  );
  const prepared = await prepareJoin({
    folder: folder.path,
    token,
    node: "n1",
    addresses: ["127.0.0.11"],
  });
  prepared.accept(await handler(prepared.request));
  const identity = openNodeIdentity(folder.path);
  assert.ok(identity);
  return { folder, authority, handler, identity };
}

test("I18: leaves are renewed at half of their life by the old key, an expired one too", async (t) => {
  const startMs = Date.now() - 200 * dayMs;
  const clock = createSimulatedClock({ wallMs: startMs });
  const { folder, handler, identity } = await joined(() => startMs);
  using _folder = folder;
  const first = identity.identity;
  let changes = 0;
  identity.onChange(() => changes++);
  const renewal = startRenewal(
    {
      ...testDeps,
      clock,
      nowMs: () => clock.wallMs(),
      identity,
      exchange: handler,
    },
    { checkMs: 3_600_000 },
  );
  t.after(() => renewal.stop());
  await clock.advance(10 * dayMs);
  assert.equal(identity.identity, first, "not yet due");
  await clock.advance(5 * dayMs);
  await waitFor(() => changes > 0, { what: "the renewal" });
  assert.notEqual(identity.identity.keyPem, first.keyPem);
  assert.deepEqual(openNodeIdentity(folder.path)?.identity, identity.identity);
  // Long after its end the stored key is still good for a new leaf: no new token.
  assert.ok(!verifyChain(derOf(identity.identity.chainPem), identity.trust, Date.now()).ok);
  const prepared = await identity.prepareRenewal();
  prepared.accept(await handler(prepared.request));
});

test("I18: a node that is to serve under further addresses renews for them, and keeps them", async (t) => {
  const { folder, handler, identity } = await joined(() => Date.now());
  using _folder = folder;
  const addresses = ["127.0.0.11", "192.0.2.50", "2001:db8::50"];
  const renewal = startRenewal({ ...testDeps, nowMs: Date.now, identity, exchange: handler });
  t.after(() => renewal.stop());
  await renewal.renew({ addresses });
  await renewal.renew();
  assert.deepEqual(identity.addresses, addresses);
  const leaf = new X509Certificate(identity.serving.chainPem);
  for (const address of addresses) assert.equal(leaf.checkIP(address), address);
  assert.deepEqual(openNodeIdentity(folder.path)?.addresses, addresses);
});

test("I18: renewal needs the old key, an own certificate, and a node that still belongs", async () => {
  const { folder, handler, identity } = await joined(() => Date.now());
  using _folder = folder;
  const prepared = await identity.prepareRenewal();
  const request = JSON.parse(text(prepared.request)) as Record<string, string>;
  const refused = (changes: object) =>
    assert.rejects(handler(utf8(JSON.stringify({ ...request, ...changes }))), {
      code: "renewal-refused",
    });
  const other = JSON.parse(text((await identity.prepareRenewal()).request)) as Record<
    string,
    string
  >;
  await refused({ signature: other["signature"] });
  await refused({ identityRequest: other["identityRequest"] });
  await refused({ chainPem: n1.chainPem });
  await refused({ chainPem: identity.serving.chainPem });
  const banned = await joined(() => Date.now(), { mayRenew: async () => false });
  using _banned = banned.folder;
  const again = await banned.identity.prepareRenewal();
  await assert.rejects(banned.handler(again.request), { code: "renewal-refused" });
});

test("I18: an answer for other keys, another node or under no anchor replaces nothing", async () => {
  const { folder, handler, identity } = await joined(() => Date.now());
  using _folder = folder;
  const before = identity.identity;
  const [one, two] = [await identity.prepareRenewal(), await identity.prepareRenewal()];
  const answer = await handler(two.request);
  assert.throws(() => one.accept(answer), { code: "invalid-enrolment" });
  const fields = JSON.parse(text(answer)) as object;
  const impostor = await testCell();
  for (const changes of [
    { trust: impostor.trust },
    { identityChainPem: n1.chainPem },
    { nowMs: 0 },
  ])
    assert.throws(() => two.accept(utf8(JSON.stringify({ ...fields, ...changes }))), {
      code: "invalid-enrolment",
    });
  assert.throws(() => two.accept(utf8("{}")), { code: "invalid-enrolment" });
  assert.equal(identity.identity, before);
  assert.deepEqual(openNodeIdentity(folder.path)?.identity, before);
});

test("I19: a cell enrols at the hub, its nodes learn it without a new leaf, and renew the hub's certificate", async () => {
  const hub = await temporaryAuthority("hub.skerry", { pathLength: 2 });
  const pinByDomain = new Map<string, string>();
  const store = memoryTokens(testDeps);
  const handler = createCellEnrolment({
    authority: hub,
    tokens: store,
    registry: {
      claim: async (domain, pin) => {
        if (!pinByDomain.has(domain)) pinByDomain.set(domain, pin);
        return pinByDomain.get(domain) ?? "";
      },
      find: async (domain) => pinByDomain.get(domain),
    },
    random: systemRandom,
    nowMs: testDeps.nowMs,
  });
  const hubToken = async () =>
    (
      await createJoinToken(
        { random: systemRandom, store, nowMs: testDeps.nowMs },
        { cell: "hub", pin: hub.pin },
      )
    ).token;
  const { folder, authority, handler: nodes, identity } = await joined(() => Date.now());
  using _folder = folder;
  const atHub: Trust = { trustDomain: "cell-a.skerry", anchorsPem: hub.trust.anchorsPem };
  const chain = () => derOf(identity.identity.chainPem);

  await assert.rejects(handler(await cellRequest(authority)), { code: "renewal-refused" });
  assert.ok(intermediateIsDue(authority, Date.now()));
  acceptCellAnswer(
    authority,
    await handler(await cellRequest(authority, { token: await hubToken() })),
  );
  assert.ok(!intermediateIsDue(authority, Date.now()));
  assert.ok(intermediateIsDue(authority, Date.now() + 31 * dayMs));
  acceptCellAnswer(authority, await handler(await cellRequest(authority)));

  assert.ok(!verifyChain(chain(), atHub, Date.now()).ok);
  const { keyPem } = identity.identity;
  assert.ok(identity.acceptTrust(await nodes(trustRequest())));
  assert.ok(!identity.acceptTrust(await nodes(trustRequest())), "nothing new");
  assert.equal(identity.identity.keyPem, keyPem);
  assert.ok(verifyChain(chain(), atHub, Date.now()).ok);
  assert.ok(verifyChain(chain(), identity.trust, Date.now()).ok);
  assert.deepEqual(identity.hubTrust, hub.trust);

  const rival = await temporaryAuthority("cell-a.skerry");
  await assert.rejects(handler(await cellRequest(rival, { token: await hubToken() })), {
    code: "trust-domain-taken",
  });
  await assert.rejects(handler(await cellRequest(rival)), { code: "renewal-refused" });
});

test("T19: a caller that hangs up is noted, and never reaches the handler", async (t) => {
  let asked = 0;
  const listener = await server(t, {
    enrol: async () => {
      asked++;
      return utf8("");
    },
  });
  const socket = connectTls({
    ...clientTlsOptions({ trusts: [], alpn: ["skerry-enrol/1"] }),
    host: "127.0.0.1",
    port: listener.port,
  });
  t.after(() => void socket.destroy());
  socket.on("error", () => {});
  await new Promise<void>((resolve) => socket.once("data", () => resolve()));
  socket.destroy();
  await waitFor(() => listener.refusedByReason.has("enrol-protocol"), { what: "the audit" });
  assert.equal(asked, 0);
});
