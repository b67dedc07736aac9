/** A port behind a balancer: who the client is, and who may say so. */
import { strict as assert } from "node:assert";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { test } from "node:test";
import { createJoinToken, parseJoinToken } from "../../src/identity/index.ts";
import { systemRandom } from "../../src/runtime/clock/index.ts";
import { createRouter, dial, enrol, parseBalancers } from "../../src/transport/index.ts";
import { startHaproxy } from "../support/haproxy.ts";
import { temporaryFolder } from "../support/identity.ts";
import { proxyHeader } from "../support/proxy-header.ts";
import {
  collectingLog,
  frozenClock,
  testCell,
  testDeps,
  testListener,
  utf8,
} from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";
import { memoryTokens } from "../support/tokens.ts";

const timeoutMs = 30_000;

test("T14, T25: clients are told apart behind a balancer, and whoever is none is refused with the reason", async () => {
  const cell = await testCell();
  const n1 = await cell.credentials("node", "n1");
  const store = memoryTokens(testDeps);
  const { token } = await createJoinToken(
    { random: systemRandom, store, nowMs: testDeps.nowMs },
    { cell: "cell-a", pin: cell.authority.pin },
  );
  const log = collectingLog();
  const seen: string[] = [];
  const listener = await testListener(
    cell,
    n1,
    {
      balancers: parseBalancers("127.0.0.2"),
      enrol: async (_, { address }) => {
        seen.push(address);
        return utf8("ok");
      },
    },
    { log, clock: frozenClock },
  );
  /** Passes on what comes, as a client of this address; from an address of its own. */
  let header: Buffer = Buffer.alloc(0);
  let localAddress = "127.0.0.2";
  const balancer = createServer((from) => {
    const to = connect({ host: "127.0.0.1", port: listener.port, localAddress });
    // In pieces, and with the client's first bytes in one of them.
    to.write(header.subarray(0, 5));
    to.once("connect", () => {
      to.write(header.subarray(5));
      from.pipe(to).pipe(from);
    });
    for (const socket of [from, to])
      socket.on("error", () => {
        from.destroy();
        to.destroy();
      });
  });
  await new Promise<void>((resolve) => balancer.listen(0, "127.0.0.1", resolve));
  const { port } = balancer.address() as AddressInfo;
  const { trustDomain, pin } = parseJoinToken(token);
  const send = () =>
    enrol(testDeps, {
      host: "127.0.0.1",
      port,
      trustDomain,
      pin,
      request: utf8("please"),
      timeoutMs,
    });
  const refusals = () =>
    log.lines
      .filter(({ message }) => message === "connection refused")
      .map(({ fields }) => fields as { reason: string; why: string; hint: string; remote: string });
  try {
    header = proxyHeader({ address: "192.0.2.1", port: 4711 });
    for (let n = 0; n < 10; n++) await send();
    // The balancer's own address has not run out of enrolments; this client has.
    await assert.rejects(send(), { code: "enrol-busy" });
    assert.deepEqual(new Set(seen), new Set(["192.0.2.1"]));
    header = proxyHeader({ address: "2001:db8:0:0:0:0:0:1", port: 4711, kind: 0x21 });
    await send();
    header = proxyHeader({ address: "192.0.2.1", port: 1, command: 0 });
    await send();
    assert.deepEqual(seen.slice(10), ["2001:db8::1", "127.0.0.2"]);

    const refusal = async (reason: string) => {
      await assert.rejects(send());
      await waitFor(() => listener.refusedByReason.get(reason) === 1, { what: reason, timeoutMs });
      return refusals().at(-1);
    };
    header = Buffer.alloc(0);
    assert.match((await refusal("proxy-header"))?.why ?? "", /TLS without a PROXY header/);
    localAddress = "127.0.0.3";
    header = proxyHeader({ address: "192.0.2.9", port: 1 });
    const stranger = await refusal("not-a-balancer");
    assert.match(stranger?.hint ?? "", /missing in --proxy-protocol/);
    assert.equal(stranger?.remote, "127.0.0.3");

    // A health check that says no more than that it is one is nobody's fault.
    const before = refusals().length;
    const check = connect({ host: "127.0.0.1", port: listener.port, localAddress: "127.0.0.2" });
    const closed = new Promise((resolve) => check.once("close", resolve));
    check.resume().end(proxyHeader({ address: "192.0.2.1", port: 1, command: 0 }));
    await closed;
    assert.equal(refusals().length, before);
  } finally {
    await listener.close();
    await new Promise((resolve) => balancer.close(resolve));
  }
});

test("T26: a balancer that ends TLS is named as such at both of its sides, and so is what speaks no TLS", async () => {
  const cell = await testCell();
  const n1 = await cell.credentials("node", "n1");
  using folder = temporaryFolder();
  const log = collectingLog();
  let arrived = 0;
  const listener = await testListener(
    cell,
    n1,
    {
      http(socket) {
        socket.resume();
        arrived++;
      },
    },
    { log },
  );
  const [keyPath, certificatePath] = [join(folder.path, "key.pem"), join(folder.path, "cert.pem")];
  execFileSync(
    "openssl",
    [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
      ...["-subj", "/CN=edge.example", "-keyout", keyPath, "-out", certificatePath],
    ],
    { stdio: "pipe" },
  );
  await using balancer = await startHaproxy({
    host: "127.0.66.2",
    folder: folder.path,
    servers: [`127.0.0.1:${listener.port}`],
    ownPem: `${readFileSync(certificatePath, "utf8")}${readFileSync(keyPath, "utf8")}`,
  });
  const { host, port } = balancer;
  const expect = cell.authority.trustDomain;
  const dialled = dial(testDeps, {
    address: balancer,
    expect,
    credentials: () => n1,
    trusts: () => [cell.trust],
    router: createRouter(),
  });
  const wanted = {
    code: "tls-terminated",
    retryable: true,
    message: `${host}:${port} shows a certificate for edge.example, issued by edge.example: something on the way ends TLS, or the port is the wrong one`,
  };
  try {
    const { pin } = cell.authority;
    const request = utf8("please");
    await assert.rejects(
      enrol(testDeps, { host, port, trustDomain: expect, pin, request, timeoutMs }),
      wanted,
    );
    await waitFor(() => dialled.lastFailure !== undefined, { what: "a failure", timeoutMs });
    const { code, message, hint } = dialled.lastFailure as Error & { code: string; hint: string };
    assert.deepEqual({ code, message }, { code: wanted.code, message: wanted.message });
    assert.match(hint, /pass TCP through/);
    const refusal = () => listener.refusals().find(({ reason }) => reason === "tls-terminated");
    await dialled.close();
    for (const before of [0, 1]) {
      const client = connectTls({ host, port, rejectUnauthorized: false });
      client.on("error", () => {});
      await waitFor(() => arrived > before, { what: "the balancer's own TLS", timeoutMs });
      client.destroy();
      await waitFor(() => (refusal()?.count ?? 0) > before, { what: "a refusal", timeoutMs });
    }
    assert.match(refusal()?.hint ?? "", /pass TCP through/);
    // Counted each time, told once.
    const told = log.lines.filter(
      ({ fields }) => (fields as { reason?: string }).reason === "tls-terminated",
    );
    assert.equal(told.length, 1);

    const plain = connect({ host: "127.0.0.1", port: listener.port });
    plain.on("error", () => {});
    plain.resume().write("GET / HTTP/1.1\r\n\r\n");
    const spoken = () => listener.refusals().find(({ reason }) => reason === "tls");
    await waitFor(() => spoken() !== undefined, { what: "a refusal of what is no TLS", timeoutMs });
    assert.match(spoken()?.hint ?? "", /speaks no TLS 1.3\. pass TCP through/);
    plain.destroy();
  } finally {
    await dialled.close();
    await listener.close();
  }
});
