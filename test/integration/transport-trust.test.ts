import { strict as assert } from "node:assert";
import { createServer as createHttp } from "node:http";
import { get as httpsGet } from "node:https";
import { connect as connectTcp, createServer as createTcp, type Socket } from "node:net";
import { test } from "node:test";
import { connect as connectTls, createServer as createTls, type TLSSocket } from "node:tls";
import {
  createRequest,
  generateKeyPem,
  serverTlsOptions,
  toPem,
  verifyPeer,
  verifyServer,
  type Credentials,
  type Trust,
} from "../../src/identity/index.ts";
import {
  clientTlsOptions,
  createRouter,
  dial,
  type Listener,
  type DialOptions,
} from "../../src/transport/index.ts";
import { dayMs, forge } from "../support/identity.ts";
import {
  collectingLog,
  testCell,
  testDeps,
  testLimits,
  testListener,
  text,
  utf8,
} from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

const cell = await testCell();
const impostor = await testCell();
const n1 = await cell.credentials("node", "n1");
const n2 = await cell.credentials("node", "n2");

type Overrides = {
  nowMs?: () => number;
  trusts?: () => readonly Trust[];
  limits?: object;
  credentials?: () => Credentials;
  time?: DialOptions["time"];
};
type ServerOverrides = Overrides & {
  log?: ReturnType<typeof collectingLog>;
  serving?: () => Credentials;
  http?: (socket: TLSSocket) => void;
};

async function server(overrides: ServerOverrides = {}): Promise<Listener> {
  const { nowMs, log, time, ...options } = overrides;
  const router = createRouter();
  router.handle("echo", async ({ body }) => body);
  return await testListener(
    cell,
    n1,
    { router, ...(time && { time }), ...options },
    { ...(nowMs && { nowMs }), ...(log && { log }) },
  );
}

function client(
  listener: { port: number },
  overrides: Overrides & { expect?: string; log?: ReturnType<typeof collectingLog> } = {},
) {
  const { nowMs, log, time, ...options } = overrides;
  return dial(
    { ...testDeps, ...(nowMs && { nowMs }), ...(log && { log }) },
    {
      address: { host: "127.0.0.1", port: listener.port },
      expect: cell.trust.trustDomain,
      credentials: () => n2,
      trusts: () => [cell.trust],
      router: createRouter(),
      limits: testLimits,
      backoff: { initialMs: 20, maxMs: 100 },
      ...(time && { time }),
      ...options,
    },
  );
}

const leafBy = async (
  signer: Parameters<typeof forge>[0]["signer"],
  options: Partial<Parameters<typeof forge>[0]>,
): Promise<Credentials> => {
  const keyPem = generateKeyPem();
  return { keyPem, chainPem: toPem(await forge({ signer, keyPem, ...options })) };
};

const id = "spiffe://cell-a.skerry/node/n2";
const past = { notBeforeMs: Date.now() - 2 * dayMs, notAfterMs: Date.now() - dayMs };
const future = { notBeforeMs: Date.now() + dayMs, notAfterMs: Date.now() + 2 * dayMs };
const ours = cell.authority.signer;
const theirs = impostor.authority.signer;

const refused: [string, () => Promise<Credentials>, string][] = [
  ["foreign authority of the same name", () => leafBy(theirs, { uris: [id] }), "foreign"],
  ["the same, not yet valid", () => leafBy(theirs, { uris: [id], ...future }), "foreign"],
  ["the same, expired", () => leafBy(theirs, { uris: [id], ...past }), "foreign"],
  ["no SPIFFE id", () => leafBy(ours, { dns: ["n2.cell-a.skerry"] }), "identity"],
  ["two SPIFFE ids", () => leafBy(ours, { uris: [id, `${id}2`] }), "identity"],
  ["an IP address beside it", () => leafBy(ours, { uris: [id], ips: ["127.0.0.1"] }), "identity"],
  [
    "another trust domain",
    () => leafBy(ours, { uris: ["spiffe://cell-b.skerry/node/n2"] }),
    "wrong-trust-domain",
  ],
  ["expired", () => leafBy(ours, { uris: [id], ...past }), "expired"],
  ["not yet valid", () => leafBy(ours, { uris: [id], ...future }), "not-yet-valid"],
  ["an application", () => cell.credentials("app", "sensor"), "not-allowed"],
  ["a person", () => cell.credentials("user", "admin"), "not-allowed"],
  [
    "a serving leaf",
    async () => {
      const keyPem = generateKeyPem();
      const request = await createRequest(keyPem);
      const names = { dns: ["api.cell-a.skerry"] };
      return { keyPem, chainPem: await cell.authority.issueServing(request, names) };
    },
    "identity",
  ],
];

/** T23 wants to know who was told that clocks differ. */
const noticing = () => {
  const disputes: string[] = [];
  const time = {
    tellMs: () => Date.now(),
    observe() {},
    dispute: (peer: string) => void disputes.push(peer),
  };
  return { disputes, time };
};

for (const [what, credentials, reason] of refused) {
  test(`T14, T23: refused at both ends, with the reason in the log: ${what}`, async () => {
    const bad = await credentials();
    const log = collectingLog();
    const accepting = noticing();
    const dialling = noticing();
    const listener = await server({ log, time: accepting.time });
    const dialler = client(listener, { credentials: () => bad });
    const badServer = await server({ credentials: () => bad });
    const toBad = client(badServer, { time: dialling.time });
    try {
      await waitFor(() => listener.refusedByReason.has(reason), { what: `refusal ${reason}` });
      await waitFor(() => dialler.lastFailure !== undefined, { what: "the dialler to be told" });
      assert.deepEqual(listener.links(), []);
      const line = log.lines.find(({ message }) => message === "connection refused");
      assert.ok(line && "reason" in line.fields && "remote" in line.fields);
      assert.equal(line.fields.reason, reason);
      const refusal = await waitFor(() => toBad.lastFailure, { what: "the client's refusal" });
      assert.equal((refusal as Error & { code: string }).code, "peer-refused");
      assert.deepEqual((refusal as Error & { details: object }).details, { reason });
      assert.equal(toBad.link, undefined);
      const isAboutTime = reason === "expired" || reason === "not-yet-valid";
      const told = new Set([...accepting.disputes, ...dialling.disputes]);
      assert.deepEqual(told, new Set(isAboutTime ? [id] : []));
    } finally {
      await Promise.all([dialler.close(), toBad.close()]);
      await Promise.all([listener.close(), badServer.close()]);
    }
  });
}

test("T14: no certificate, and none of ours for the domain expected, are refused", async () => {
  const listener = await server();
  const socket = connectTls({
    ...clientTlsOptions({ trusts: [cell.trust], alpn: ["skerry-link/1"] }),
    host: "127.0.0.1",
    port: listener.port,
  });
  socket.on("error", () => {});
  const wrongPeer = client(listener, { expect: "spiffe://cell-a.skerry/node/n9" });
  const wrongDomain = client(listener, { expect: "hub.skerry" });
  try {
    await waitFor(() => listener.refusedByReason.has("none"), { what: "the refusal" });
    for (const dialler of [wrongPeer, wrongDomain]) {
      const refusal = await waitFor(() => dialler.lastFailure, { what: "a refusal" });
      assert.deepEqual((refusal as Error & { details: object }).details, { reason: "not-allowed" });
    }
  } finally {
    socket.destroy();
    await Promise.all([wrongPeer.close(), wrongDomain.close()]);
    await listener.close();
  }
});

test("T15: links are judged at the cell's time: a wrong host clock stops nothing, an expiry cuts", async () => {
  const start = Date.now() + 3 * dayMs;
  let nowMs = start;
  const leaf = await leafBy(ours, {
    uris: [id],
    notBeforeMs: start - dayMs,
    notAfterMs: start + dayMs,
  });
  const longLived = await leafBy(ours, {
    uris: ["spiffe://cell-a.skerry/node/n1"],
    notAfterMs: start + 9 * dayMs,
  });
  const listener = await server({
    nowMs: () => nowMs,
    limits: { ...testLimits, recheckMs: 50 },
    credentials: () => longLived,
  });
  const dialler = client(listener, { nowMs: () => nowMs, credentials: () => leaf });
  try {
    const link = await dialler.wait({ signal: AbortSignal.timeout(30_000) });
    assert.equal(text(await link.request("echo", utf8("x"))), "x");
    nowMs += 2 * dayMs;
    await waitFor(() => link.closed.aborted, { what: "the link to be cut" });
    await waitFor(() => listener.refusedByReason.has("expired"), { what: "the reason" });
  } finally {
    await dialler.close();
    await listener.close();
  }
});

test("T15: dropping an anchor cuts the links that rest on it", async () => {
  const trusts = [cell.trust];
  const listener = await server({ trusts: () => trusts });
  const dialler = client(listener);
  try {
    const link = await dialler.wait({ signal: AbortSignal.timeout(30_000) });
    trusts.length = 0;
    listener.refresh();
    await waitFor(() => link.closed.aborted, { what: "the link to be cut" });
  } finally {
    await dialler.close();
    await listener.close();
  }
});

test("T15: renewed credentials are used without a restart, requests go on", async () => {
  const own = { server: n1, client: n2 };
  const listener = await server({ credentials: () => own.server });
  const dialler = client(listener, { credentials: () => own.client });
  try {
    const link = await dialler.wait({ signal: AbortSignal.timeout(30_000) });
    own.server = await cell.credentials("node", "n1");
    own.client = await cell.credentials("node", "n7");
    listener.refresh();
    dialler.refresh();
    await waitFor(() => dialler.link !== undefined && dialler.link !== link, {
      what: "a new link",
    });
    assert.equal(text((await dialler.link?.request("echo", utf8("y"))) ?? utf8("")), "y");
    await waitFor(() => listener.link("spiffe://cell-a.skerry/node/n7"), { what: "the new id" });
  } finally {
    await dialler.close();
    await listener.close();
  }
});

test("T16: TLS 1.3 only, and no session is ever offered for resumption", async () => {
  const listener = await server();
  const at = { host: "127.0.0.1", port: listener.port };
  const options = clientTlsOptions({
    credentials: n2,
    trusts: [cell.trust],
    alpn: ["skerry-link/1"],
  });
  let sessions = 0;
  const welcomed = Promise.withResolvers<void>();
  const modern = connectTls({ ...options, ...at, secureOptions: 0 });
  modern.on("session", () => sessions++);
  modern.on("data", () => welcomed.resolve());
  modern.on("error", (error) => welcomed.reject(error));
  await welcomed.promise;
  assert.equal(modern.getProtocol(), "TLSv1.3");
  assert.equal(sessions, 0);
  modern.destroy();

  const failed = Promise.withResolvers<Error>();
  const old = connectTls({ ...options, ...at, minVersion: "TLSv1.2", maxVersion: "TLSv1.2" });
  old.on("error", failed.resolve);
  old.on("secureConnect", () => failed.reject(new Error("TLS 1.2 was accepted")));
  await failed.promise;
  await waitFor(() => listener.refusedByReason.has("tls"), { what: "the audit" });
  await listener.close();
});

test("T16: why Node's own verdict is not enough: it calls a forged leaf merely expired", async () => {
  const forged = await leafBy(theirs, { uris: ["spiffe://cell-a.skerry/node/n1"], ...past });
  const plain = createTls({ key: forged.keyPem, cert: forged.chainPem });
  await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", resolve));
  const { port } = plain.address() as { port: number };
  const socket = connectTls({
    host: "127.0.0.1",
    port,
    ...clientTlsOptions({ trusts: [cell.trust] }),
  });
  await new Promise<void>((resolve) => socket.once("secureConnect", resolve));
  // Node names no signature here, only the time or a missing issuer; ours names what is wrong.
  assert.notEqual(String(socket.authorizationError), "CERT_SIGNATURE_FAILURE");
  const verdict = verifyPeer(socket, [cell.trust], Date.now());
  assert.equal(verdict.ok ? "ok" : verdict.reason, "foreign");
  socket.destroy();
  plain.close();
});

test("T17: a serving leaf is judged by name and cell", async () => {
  const keyPem = generateKeyPem();
  const request = await createRequest(keyPem);
  const judged = async (from: typeof cell, dns: string) => {
    const chainPem = await from.authority.issueServing(request, { dns: [dns] });
    const tls = createTls(
      serverTlsOptions({
        credentials: { keyPem, chainPem },
        trusts: [cell.trust],
        requestCert: true,
      }),
    );
    await new Promise<void>((resolve) => tls.listen(0, "127.0.0.1", resolve));
    const { port } = tls.address() as { port: number };
    const options = clientTlsOptions({ credentials: n2, trusts: [cell.trust] });
    const socket = connectTls({ ...options, host: "127.0.0.1", port });
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once("secureConnect", resolve);
        socket.once("error", reject);
      });
      const host = "api.cell-a.skerry";
      const verdict = verifyServer(socket, cell.trust, Date.now(), { host });
      return verdict.ok ? "ok" : verdict.reason;
    } finally {
      socket.destroy();
      tls.close();
    }
  };
  assert.equal(await judged(cell, "api.cell-a.skerry"), "ok");
  assert.equal(await judged(cell, "api.cell-b.skerry"), "identity");
  assert.equal(await judged(impostor, "api.cell-a.skerry"), "foreign");
});

test("T17: one port serves HTTPS under its names and links under the identity", async () => {
  const keyPem = generateKeyPem();
  const names = { dns: ["api.cell-a.skerry"] };
  const chainPem = await cell.authority.issueServing(await createRequest(keyPem), names);
  const http = createHttp((request, response) => {
    const verdict = verifyPeer(request.socket as TLSSocket, [cell.trust], Date.now());
    response.end(verdict.ok ? verdict.subject.id : verdict.reason);
  });
  const listener = await server({
    serving: () => ({ keyPem, chainPem }),
    http: (socket) => http.emit("connection", socket),
  });
  const dialler = client(listener);
  const get = (credentials?: Credentials) =>
    new Promise<string>((resolve, reject) => {
      const options = clientTlsOptions({ credentials, trusts: [cell.trust] });
      const at = { host: "127.0.0.1", port: listener.port, servername: "api.cell-a.skerry" };
      const request = httpsGet({ ...options, ...at, agent: false }, (response) => {
        const host = "api.cell-a.skerry";
        const socket = response.socket as TLSSocket;
        const verdict = verifyServer(socket, cell.trust, Date.now(), { host });
        response.setEncoding("utf8").on("data", (body) => resolve(`${verdict.ok} ${body}`));
      });
      request.on("error", reject);
    });
  try {
    const link = await dialler.wait({ signal: AbortSignal.timeout(30_000) });
    assert.equal(text(await link.request("echo", utf8("x"))), "x");
    assert.equal(
      await get(await cell.credentials("user", "admin")),
      "true spiffe://cell-a.skerry/user/admin",
    );
    assert.equal(await get(), "true none");
  } finally {
    await dialler.close();
    await listener.close();
    http.close();
  }
});

test("T18: closing a listener does not wait for those who hang on", async () => {
  const listener = await server({ http: () => {} });
  const options = clientTlsOptions({ trusts: [cell.trust], alpn: ["http/1.1"] });
  const idle = connectTls({ ...options, host: "127.0.0.1", port: listener.port });
  idle.on("error", () => {});
  const raw = connectTcp({ host: "127.0.0.1", port: listener.port });
  raw.on("error", () => {});
  await new Promise<void>((resolve) => idle.once("secureConnect", resolve));
  await listener.close();
  idle.destroy();
  raw.destroy();
});

test("T18: a peer that never finishes its handshake is given up, others are served", async () => {
  const silent = createTcp(() => {});
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const dialler = client(silent.address() as { port: number }, {
    limits: { ...testLimits, handshakeMs: 200 },
  });
  const listener = await server({ limits: { ...testLimits, handshakeMs: 200 } });
  const stuck: Socket = connectTcp({ host: "127.0.0.1", port: listener.port });
  stuck.on("error", () => {});
  const closed = new Promise<void>((resolve) => stuck.once("close", () => resolve()));
  try {
    const failure = await waitFor(() => dialler.lastFailure, { what: "the dialler to give up" });
    assert.equal((failure as Error & { code: string }).code, "peer-unreachable");
    await closed;
    await waitFor(() => listener.refusedByReason.has("tls"), { what: "the audit" });
  } finally {
    await dialler.close();
    await listener.close();
    silent.close();
  }
});
