/** T27: connections that are no use to anybody lock nobody out. */
import { strict as assert } from "node:assert";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { test, type TestContext } from "node:test";
import { createRouter, dial, type Listener } from "../../src/transport/index.ts";
import {
  collectingLog,
  testCell,
  testDeps,
  testLimits,
  testListener,
} from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

const cell = await testCell();
const timeoutMs = 30_000;

async function arrange(t: TestContext, connectionsMax?: number) {
  const [n1, n2] = [await cell.credentials("node", "n1"), await cell.credentials("node", "n2")];
  const listener = await testListener(
    cell,
    n1,
    connectionsMax === undefined ? {} : { connectionsMax },
  );
  t.after(() => listener.close());
  /** A node that calls, until its link is up; the first call leads to it. */
  const joinNode = async () => {
    const said = collectingLog();
    const node = dial(
      { ...testDeps, log: said },
      {
        address: listener,
        expect: cell.trust.trustDomain,
        credentials: () => n2,
        trusts: () => [cell.trust],
        router: createRouter(),
        // The port's patience is what is tested, not this end's on a machine that is slow.
        limits: { ...testLimits, handshakeMs: timeoutMs },
      },
    );
    t.after(() => node.close());
    await waitFor(() => node.link, { what: "a link", timeoutMs });
    assert.deepEqual(
      said.lines.map(({ message }) => message),
      ["link up"],
    );
    return node;
  };
  return { listener, joinNode };
}

/** Connections of another address, each of which has said `bytes`. */
async function strangers(
  t: TestContext,
  { listener, count, bytes }: { listener: Listener; count: number; bytes?: Buffer },
): Promise<Socket[]> {
  const sockets = Array.from({ length: count }, () =>
    connect({ host: listener.host, port: listener.port, localAddress: "127.0.0.9" }),
  );
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  await Promise.all(
    sockets.map(async (socket) => {
      await once(socket, "connect");
      socket.on("error", () => {
        // The port may hang up on it.
      });
      if (bytes) socket.write(bytes);
    }),
  );
  return sockets;
}

/** What a TLS client says first. */
async function clientHello(t: TestContext): Promise<Buffer> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  t.after(() => server.close());
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address);
  const client = connectTls({ port: address.port, host: "127.0.0.1", rejectUnauthorized: false });
  client.on("error", () => {
    // Nobody answers it.
  });
  const [socket] = (await once(server, "connection")) as [Socket];
  const [bytes] = (await once(socket, "data")) as [Buffer];
  client.destroy();
  socket.destroy();
  return bytes;
}

test("T27: connections that say nothing, or half of a hello, take nobody's turn", async (t) => {
  const port = await arrange(t);
  const hello = await clientHello(t);
  await strangers(t, { listener: port.listener, count: 200 });
  await strangers(t, {
    listener: port.listener,
    count: 200,
    bytes: hello.subarray(0, hello.length >> 1),
  });
  await port.joinNode();
  await waitFor(() => port.listener.refusedByReason.get("tls") === 400, {
    what: "all of them to be closed in time",
    timeoutMs,
  });
});

test("T27: a flood of hellos that lead nowhere waits for itself", async (t) => {
  const port = await arrange(t);
  await strangers(t, { listener: port.listener, count: 400, bytes: await clientHello(t) });
  await port.joinNode();
});

test("T27: where the port is full, a newcomer takes the place of a connection that is no link", async (t) => {
  const port = await arrange(t, 20);
  const first = await port.joinNode();
  const sockets = await strangers(t, { listener: port.listener, count: 60 });
  const link = first.link;
  await port.joinNode();
  assert.equal(first.link, link, "a link never gives way");
  assert.ok(link && !link.closed.aborted);
  await waitFor(() => sockets.filter((socket) => socket.destroyed).length >= 41, {
    what: "the strangers beyond the limit to be hung up on",
    timeoutMs,
  });
  assert.ok((port.listener.refusedByReason.get("busy") ?? 0) >= 41);
});
