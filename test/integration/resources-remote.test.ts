/** R12 and R3 over HTTP: lost servers, cut connections, impostors. */
import { strict as assert } from "node:assert";
import type { RequestListener } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { test } from "node:test";
import { configMapKind } from "../../src/api/index.ts";
import { spiffeId, verifyServer } from "../../src/identity/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import {
  createRemoteResources,
  type RemoteResources,
  type RemoteResourcesOptions,
  type RemoteServer,
} from "../../src/resources/index.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { serverName, servingCredentials, startCell, type TestCell } from "../support/apiserver.ts";
import { temporaryAuthority } from "../support/identity.ts";
import { collect, configMap, done, eventText } from "../support/resources.ts";
import { waitFor } from "../support/wait.ts";

type Remote = RemoteResources & AsyncDisposable;

async function remoteTo(
  cell: TestCell,
  servers: readonly RemoteServer[],
  options: Partial<RemoteResourcesOptions> = {},
): Promise<Remote> {
  const credentials = await cell.credentials("user", "admin");
  const { trust } = cell.authority;
  const remote = createRemoteResources(
    { clock: systemClock, log: silentLog },
    {
      node: "n2",
      servers: () => servers,
      servername: serverName,
      credentials: () => ({ ...credentials, anchorsPem: trust.anchorsPem }),
      judgeServer: (socket) => verifyServer(socket, trust, Date.now(), { host: serverName }),
      // A machine that stands still for a moment is no server that does not answer.
      connectTimeoutMs: 30_000,
      attemptTimeoutMs: 30_000,
      ...options,
    },
  );
  return Object.assign(remote, { [Symbol.asyncDispose]: () => remote.close() });
}

type Listener = RemoteServer & AsyncDisposable;

/** An HTTPS server with the cell's (or another) serving certificate that answers as the test says. */
async function serve(authority: TestCell["authority"], answer: RequestListener): Promise<Listener> {
  const server = createHttpsServer(await servingCredentials(authority), answer);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    host: "127.0.0.1",
    port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}

/** A port where nobody listens. */
async function freePort(): Promise<RemoteServer> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => {
    server.close(resolve);
  });
  return { host: "127.0.0.1", port };
}

/** Passes bytes on until it is cut. */
async function proxyTo(target: RemoteServer): Promise<Listener & { cut(): void }> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(target);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => socket.destroy());
      socket.on("close", () => sockets.delete(socket));
    }
    client.pipe(upstream);
    upstream.pipe(client);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    host: "127.0.0.1",
    port: (server.address() as AddressInfo).port,
    cut,
    async [Symbol.asyncDispose]() {
      cut();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}

/** What membership says of servers, as a test wants it. */
function silenceBoard() {
  let silent: readonly RemoteServer[] = [];
  const listeners = new Set<() => void>();
  const isSilent = ({ host, port }: RemoteServer) =>
    silent.some((server) => server.host === host && server.port === port);
  return {
    isSilent,
    onChange(listener: () => void) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    set(...servers: readonly RemoteServer[]) {
      silent = servers;
      for (const listener of listeners) listener();
    },
    get listeners() {
      return listeners.size;
    },
  };
}

const hasCode = (code: string) => (error: unknown) =>
  error instanceof SkerryError && error.code === code;

test("R12: a server that refuses is passed over, for reads and writes", async () => {
  await using cell = await startCell();
  await using remote = await remoteTo(cell, [await freePort(), cell]);
  done(await remote.create(configMapKind, configMap("a")));
  assert.equal((await remote.list(configMapKind)).items.length, 1);
});

test("R12: with no server reachable nothing happened, and that is said", async () => {
  await using cell = await startCell();
  await using remote = await remoteTo(cell, [await freePort()]);
  await assert.rejects(remote.create(configMapKind, configMap("a")), hasCode("ledger-unavailable"));
  await assert.rejects(remote.list(configMapKind), hasCode("ledger-unavailable"));
  await using lonely = await remoteTo(cell, []);
  await assert.rejects(
    lonely.get(configMapKind, { namespace: "default", name: "a" }),
    hasCode("ledger-unavailable"),
  );
});

test("R12: a connection cut after the request was sent is unknown for a write, tried again for a read", async () => {
  await using cell = await startCell();
  let asked = 0;
  await using cutting = await serve(cell.authority, (request) => {
    asked++;
    request.socket.destroy();
  });
  await using remote = await remoteTo(cell, [cutting, cell]);
  const result = await remote.create(configMapKind, configMap("a"));
  assert.equal(result.state, "unknown");
  assert.equal(asked, 1);
  assert.equal(
    await cell.resources.get(configMapKind, { namespace: "default", name: "a" }),
    undefined,
  );
  assert.equal((await remote.list(configMapKind)).items.length, 0);
});

test("R12: a server that does not answer in time is unknown for a write", async () => {
  await using cell = await startCell();
  await using silent = await serve(cell.authority, () => {});
  await using remote = await remoteTo(cell, [silent, cell], { attemptTimeoutMs: 200 });
  const result = await remote.update(configMapKind, configMap("a"));
  assert.equal(result.state, "unknown");
  assert.match(result.state === "unknown" ? result.cause.message : "", /did not answer in 200 ms/);
});

test("R12: an address that accepts but never speaks TLS is certain not to have seen the write", async () => {
  await using cell = await startCell();
  const sockets = new Set<Socket>();
  const mute = createServer((socket) => void sockets.add(socket));
  await new Promise<void>((resolve) => {
    mute.listen(0, "127.0.0.1", resolve);
  });
  const { port } = mute.address() as AddressInfo;
  await using remote = await remoteTo(cell, [{ host: "127.0.0.1", port }, cell], {
    connectTimeoutMs: 500,
  });
  // It throws where no server can have seen it, also where the other one was too slow; then again.
  const result = await waitFor(() => remote.create(configMapKind, configMap("a")), {
    what: "an answer of the other server",
  });
  done(result);
  for (const socket of sockets) socket.destroy();
  mute.close();
});

test("R12: 503 means nothing was done here; another server is asked", async () => {
  await using cell = await startCell();
  await using lost = await serve(cell.authority, (_request, response) => {
    response.writeHead(503, { "content-type": "application/json" });
    response.end(JSON.stringify({ kind: "Status", message: "server-lost: none", code: 503 }));
  });
  await using remote = await remoteTo(cell, [lost, cell]);
  done(await remote.create(configMapKind, configMap("a")));
  await using alone = await remoteTo(cell, [lost]);
  await assert.rejects(alone.create(configMapKind, configMap("b")), hasCode("ledger-unavailable"));
});

test("R12: 500 leaves the outcome open", async () => {
  await using cell = await startCell();
  await using broken = await serve(cell.authority, (_request, response) => {
    response.writeHead(500, { "content-type": "application/json" });
    response.end("{}");
  });
  await using remote = await remoteTo(cell, [broken, cell]);
  assert.equal((await remote.create(configMapKind, configMap("a"))).state, "unknown");
});

test("R12: another cell's server is told nothing", async () => {
  await using cell = await startCell();
  let asked = 0;
  await using impostor = await serve(
    await temporaryAuthority("cell-x.skerry"),
    (_request, response) => {
      asked++;
      response.end("{}");
    },
  );
  await using remote = await remoteTo(cell, [impostor]);
  await assert.rejects(
    remote.create(configMapKind, configMap("a")),
    (error) =>
      hasCode("ledger-unavailable")(error) &&
      error instanceof Error &&
      hasCode("server-untrusted")(error.cause),
  );
  assert.equal(asked, 0);
});

test("R12: a certificate that the cell does not know is told so", async () => {
  await using cell = await startCell();
  const other = await temporaryAuthority("cell-x.skerry");
  const stranger = await other.issueCredentials(spiffeId("cell-x.skerry", "user", "admin"));
  const { anchorsPem } = cell.authority.trust;
  await using remote = await remoteTo(cell, [cell], {
    credentials: () => ({ ...stranger, anchorsPem }),
  });
  await assert.rejects(remote.list(configMapKind), hasCode("unauthenticated"));
  await assert.rejects(remote.create(configMapKind, configMap("a")), hasCode("unauthenticated"));
});

test("R12: renewed credentials are used from the next request on", async () => {
  await using cell = await startCell();
  const { anchorsPem } = cell.authority.trust;
  let credentials = await cell.credentials("node", "n2");
  await using remote = await remoteTo(cell, [cell], {
    credentials: () => ({ ...credentials, anchorsPem }),
  });
  const asNode = await remote.create(configMapKind, configMap("a"));
  assert.equal(asNode.state === "refused" && asNode.reason, "forbidden");
  credentials = await cell.credentials("user", "admin");
  done(await remote.create(configMapKind, configMap("a")));
});

test("R3: a watch whose connection is cut again and again tells every change once", async () => {
  await using cell = await startCell();
  await using proxy = await proxyTo(cell);
  await using remote = await remoteTo(cell, [proxy]);
  const names = Array.from({ length: 40 }, (_, n) => `c${n}`);
  const told: string[] = [];
  const watched = collect(remote.watch(configMapKind), (all) => {
    const last = all.at(-1);
    if (last && last.type !== "BOOKMARK") told.push(eventText(last));
    return told.length === names.length;
  });
  for (const [index, name] of names.entries()) {
    done(await cell.resources.create(configMapKind, configMap(name)));
    if (index % 8 !== 7) continue;
    await waitFor(() => told.length > index - 4, { what: "the watch to follow" });
    proxy.cut();
  }
  await watched;
  assert.deepEqual(
    told,
    names.map((name) => `ADDED ${name}`),
  );
});

test("R3: a watch that hears nothing gives up and says so", async () => {
  await using cell = await startCell();
  await using mute = await serve(cell.authority, (request, response) => {
    response.writeHead(200, { "content-type": "application/json" });
    if (request.url?.includes("watch=1")) response.flushHeaders();
    else response.end(JSON.stringify({ metadata: { resourceVersion: "1" }, items: [] }));
  });
  await using remote = await remoteTo(cell, [mute], { watchStallMs: 100 });
  const watched = collect(remote.watch(configMapKind), () => false);
  await assert.rejects(watched, hasCode("ledger-unavailable"));
});

test("R3: an answer that is no list, and a line that is no event, are refused", async () => {
  await using cell = await startCell();
  await using odd = await serve(cell.authority, (request, response) => {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(request.url?.includes("watch=1") ? '{"type":"ADDED"}\n' : "<html>");
  });
  await using remote = await remoteTo(cell, [odd]);
  await assert.rejects(remote.list(configMapKind), hasCode("ledger-unavailable"));
  await assert.rejects(
    collect(remote.watch(configMapKind, { resourceVersion: "5" }), () => false),
    /no event/,
  );
});

/** Longer than any test may take: whatever ends sooner was not ended by it. */
const patient = { attemptTimeoutMs: 600_000, watchStallMs: 600_000 };

test("R13: a write that waits for a server that fell silent is unknown, the next one refused unsent; heard again, it is asked at once", async () => {
  await using cell = await startCell();
  let requests = 0;
  let mute = true;
  await using server = await serve(cell.authority, (_, response) => {
    requests++;
    if (!mute) response.end(JSON.stringify(configMap("a")));
  });
  const silence = silenceBoard();
  {
    await using remote = await remoteTo(cell, [server], { ...patient, silence });
    const waiting = remote.create(configMapKind, configMap("a"));
    const reading = assert.rejects(
      remote.get(configMapKind, { namespace: "default", name: "a" }),
      hasCode("ledger-unavailable"),
    );
    await waitFor(() => requests === 2, { what: "both requests to arrive" });
    silence.set(server);
    assert.equal((await waiting).state, "unknown");
    await reading;
    await assert.rejects(
      remote.create(configMapKind, configMap("a")),
      hasCode("ledger-unavailable"),
    );
    assert.equal(requests, 2, "something was sent to a server that nobody hears");
    mute = false;
    silence.set();
    assert.equal((await remote.create(configMapKind, configMap("a"))).state, "done");
  }
  assert.equal(silence.listeners, 0);
});

test("R13: a watch leaves a server that fell silent for one that is heard", async () => {
  await using cell = await startCell();
  await using proxy = await proxyTo(cell);
  const silence = silenceBoard();
  await using remote = await remoteTo(cell, [proxy, cell], { ...patient, silence });
  const told: string[] = [];
  const watched = collect(remote.watch(configMapKind), (all) => {
    const last = all.at(-1);
    if (last && last.type !== "BOOKMARK") told.push(eventText(last));
    return told.length === 2;
  });
  done(await cell.resources.create(configMapKind, configMap("a")));
  await waitFor(() => told.length === 1, { what: "the watch to follow" });
  silence.set(proxy);
  done(await cell.resources.create(configMapKind, configMap("b")));
  await watched;
  assert.deepEqual(told, ["ADDED a", "ADDED b"]);
});

test("R13: a server that only the beats do not reach is found by a watch, and then used", async () => {
  await using cell = await startCell();
  const silence = silenceBoard();
  await using remote = await remoteTo(cell, [cell], { ...patient, silence });
  silence.set(cell);
  await assert.rejects(remote.list(configMapKind), hasCode("ledger-unavailable"));
  const stop = new AbortController();
  const told: string[] = [];
  const watching = (async () => {
    const query = { resourceVersion: "1", signal: stop.signal };
    for await (const event of remote.watch(configMapKind, query)) told.push(event.type);
  })();
  await waitFor(async () => (await remote.create(configMapKind, configMap("a"))).state === "done", {
    what: "the server to be used again",
  });
  await waitFor(() => told.includes("ADDED"), { what: "the watch to tell" });
  stop.abort();
  await watching;
});

test("R13: what was asked of a silent machine is asked anew when it is heard again", async () => {
  await using cell = await startCell();
  // A machine without power neither answers nor resets; afterwards it knows no old connection.
  let powered = false;
  const sockets = new Set<Socket>();
  const machine = createServer((client) => {
    sockets.add(client.on("error", () => client.destroy()));
    if (!powered) return;
    const upstream = connect(cell);
    sockets.add(upstream.on("error", () => upstream.destroy()));
    client.pipe(upstream).pipe(client);
  });
  await new Promise<void>((resolve) => {
    machine.listen(0, "127.0.0.1", resolve);
  });
  try {
    const server = { host: "127.0.0.1", port: (machine.address() as AddressInfo).port };
    const silence = silenceBoard();
    const options = { ...patient, connectTimeoutMs: 600_000, silence };
    await using remote = await remoteTo(cell, [server], options);
    silence.set(server);
    const told: string[] = [];
    const watched = collect(remote.watch(configMapKind, { resourceVersion: "1" }), (all) => {
      const last = all.at(-1);
      if (last && last.type !== "BOOKMARK") told.push(eventText(last));
      return told.length === 1;
    });
    await waitFor(() => sockets.size === 1, { what: "the silent machine to be asked" });
    powered = true;
    silence.set();
    done(await cell.resources.create(configMapKind, configMap("a")));
    await watched;
    assert.deepEqual(told, ["ADDED a"]);
  } finally {
    for (const socket of sockets) socket.destroy();
    machine.close();
  }
});
