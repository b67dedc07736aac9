/** A port behind a balancer: who the client is, and who may say so. */
import { strict as assert } from "node:assert";
import { connect, createServer, type AddressInfo } from "node:net";
import { test } from "node:test";
import {
  createJoinToken,
  createFolderTokenStore,
  parseJoinToken,
} from "../../src/identity/index.ts";
import { systemRandom } from "../../src/runtime/clock/index.ts";
import { createRouter, enrol, listen, parseBalancers } from "../../src/transport/index.ts";
import { temporaryFolder } from "../support/identity.ts";
import { proxyHeader } from "../support/proxy-header.ts";
import { collectingLog, testCell, testDeps, utf8 } from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

const timeoutMs = 30_000;

test("T14, T25: clients are told apart behind a balancer, and whoever is none is refused with the reason", async () => {
  const cell = await testCell();
  const n1 = await cell.credentials("node", "n1");
  using folder = temporaryFolder();
  const store = createFolderTokenStore(testDeps, folder.path);
  const { token } = await createJoinToken(
    { random: systemRandom, store, nowMs: testDeps.nowMs },
    { cell: "cell-a", pin: cell.authority.pin },
  );
  const log = collectingLog();
  const seen: string[] = [];
  const listener = await listen(
    { ...testDeps, log },
    {
      host: "127.0.0.1",
      port: 0,
      credentials: () => n1,
      trusts: () => [cell.trust],
      router: createRouter(),
      balancers: parseBalancers("127.0.0.2"),
      enrol: async (_, { address }) => {
        seen.push(address);
        return utf8("ok");
      },
    },
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
