/** The API's port on a node that is no server: passed on untouched, or served from what it knows. */
import { strict as assert } from "node:assert";
import { createServer } from "node:net";
import { once } from "node:events";
import { test } from "node:test";
import { kinds } from "../../src/api/index.ts";
import {
  createApiServer,
  listenForwarder,
  type Forwarder,
  type ForwarderOptions,
  type ServerAddress,
} from "../../src/apiserver/index.ts";
import { authorize } from "../../src/authorization/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import {
  authenticator,
  clientOf,
  collectingLog,
  framesOf,
  kubectlFor,
  servingCredentials,
  startCell,
  type Client,
  type TestCell,
} from "../support/apiserver.ts";
import { waitFor } from "../support/wait.ts";

const maps = "/api/v1/namespaces/default/configmaps";
const configMap = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a" } };

type Worker = AsyncDisposable & { readonly forwarder: Forwarder; readonly admin: Client };

/** A node without a ledger: its own API answers from `cell`'s resources, as a mirror would. */
async function startWorker(cell: TestCell, options: ForwarderOptions): Promise<Worker> {
  const log = collectingLog(cell.errors);
  const local = createApiServer(
    {
      resources: cell.resources,
      kinds,
      authorize,
      authenticate: authenticator(cell.authority),
      podLogs: { read: () => assert.fail("no logs here") },
      clock: systemClock,
      log,
    },
    { credentials: await servingCredentials(cell.authority) },
  );
  const at = { host: "127.0.0.1", port: 0 };
  // A machine that stands still for a second makes no server of the cell a dead one.
  const patient = { dialTimeoutMs: 60_000, ...options };
  const forwarder = await listenForwarder({ clock: systemClock, log, local }, at, patient);
  const { host, port } = forwarder;
  const credentials = await cell.credentials("user", "admin");
  return {
    forwarder,
    admin: clientOf({ host, port, authority: cell.authority }, credentials),
    async [Symbol.asyncDispose]() {
      await forwarder.close();
      await local.close();
    },
  };
}

/** An address at which nobody listens, and on which nobody else is given a free port meanwhile. */
async function deadAddress(): Promise<ServerAddress> {
  const host = "127.0.49.64";
  const server = createServer().listen(0, host);
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return { host, port };
}

const review = {
  method: "POST",
  body: { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview", metadata: {} },
};

test("F1: the server behind judges the client itself, past servers that are dead", async () => {
  await using cell = await startCell();
  const dead = await deadAddress();
  await using worker = await startWorker(cell, { servers: () => [dead, cell] });
  const path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
  const answer = await worker.admin.ask(path, review);
  assert.match(answer.text, /spiffe:\/\/cell-t\.skerry\/user\/admin/);
  assert.equal((await worker.admin.ask(maps, { method: "POST", body: configMap })).status, 201);
  const { host, port } = worker.forwarder;
  const anonymous = clientOf({ host, port, authority: cell.authority });
  assert.equal((await anonymous.ask(maps)).status, 401);
  const kubectl = await kubectlFor(cell, worker.forwarder);
  assert.match(await kubectl.ok(["get", "configmaps"]), /^a +0/m);
  assert.deepEqual(cell.errors, []);
});

test("F1: at a second address of the machine the same, until it is given up", async () => {
  await using cell = await startCell();
  let servers: ServerAddress[] = [cell];
  await using worker = await startWorker(cell, { servers: () => servers });
  const host = "127.0.49.61";
  const also = await worker.forwarder.alsoAt(host);
  const credentials = await cell.credentials("user", "admin");
  const at = (port: number) => clientOf({ host, port, authority: cell.authority }, credentials);
  const { port } = worker.forwarder;
  assert.equal((await at(port).ask(maps, { method: "POST", body: configMap })).status, 201);
  // Nobody to pass it on to: from what this node knows.
  servers = [];
  assert.equal((await at(port).ask(`${maps}/a`)).status, 200);
  also.close();
  await assert.rejects(at(port).ask(maps), /ECONNREFUSED/);
  assert.equal((await worker.admin.ask(`${maps}/a`)).status, 200);
});

test("F2: a watch ends with its server, and the next connection goes to another", async () => {
  await using second = await startCell();
  const first = await startCell();
  // Both servers of one cell would share an authority: here only the first one's client is used.
  await using worker = await startWorker(first, { servers: () => [first, second] });
  const response = await worker.admin.open(`${maps}?watch=1`);
  const ended = (async () => {
    for await (const _ of framesOf(response)) continue;
  })();
  assert.equal(worker.forwarder.connections, 1);
  await first[Symbol.asyncDispose]();
  await ended;
  await waitFor(() => worker.forwarder.connections === 0, { what: "the connection to go" });
  // The second server's certificate is of another authority: reaching it is what shows.
  await assert.rejects(worker.admin.ask("/livez"), /certificate|signature/);
});

test("F3: with no server reachable it reads from what it knows and refuses writes", async () => {
  await using cell = await startCell();
  const dead = await deadAddress();
  let servers: ServerAddress[] = [dead];
  await using worker = await startWorker(cell, { servers: () => servers });
  const read = await worker.admin.ask(maps);
  assert.equal(read.status, 200);
  assert.equal(read.headers.connection, "close");
  const write = await worker.admin.ask(maps, { method: "POST", body: configMap });
  assert.equal(write.status, 503);
  assert.match(String(write.json["message"]), /^server-lost: no server .* \(.*skerry status.*\)$/);
  const kubectl = await kubectlFor(cell, worker.forwarder);
  assert.match(await kubectl.ok(["get", "namespaces"]), /default +Active/);
  const refused = await kubectl.run(["create", "namespace", "x"]);
  assert.match(refused.stderr, /server-lost/);
  assert.equal((await worker.admin.ask(maps)).json["items"]?.constructor, Array);
  servers = [dead, cell];
  const later = await worker.admin.ask(maps, { method: "POST", body: configMap });
  assert.equal(later.status, 201, "the next connection goes to the server that is back");
  assert.deepEqual(cell.errors, []);
});

test("F4: a connection ends when its server is known to be lost, without a word from it", async () => {
  await using cell = await startCell();
  let servers: ServerAddress[] = [cell];
  await using worker = await startWorker(cell, { servers: () => servers });
  const response = await worker.admin.open(`${maps}?watch=1`);
  const failed = (async () => {
    for await (const _ of framesOf(response)) continue;
  })().then(
    () => "ended",
    () => "cut",
  );
  servers = [];
  assert.equal(await failed, "cut");
});

test("F5: a client that goes takes its connection to the server with it", async () => {
  await using cell = await startCell();
  await using worker = await startWorker(cell, { servers: () => [cell] });
  const response = await worker.admin.open(`${maps}?watch=1`);
  assert.equal(worker.forwarder.connections, 1);
  response.destroy();
  await waitFor(() => worker.forwarder.connections === 0, { what: "the connection to go" });
});

test("F6: a port in use is said", async () => {
  await using cell = await startCell();
  await using worker = await startWorker(cell, { servers: () => [cell] });
  const { host, port } = worker.forwarder;
  const local = { standIn: () => assert.fail("nothing was accepted") };
  await assert.rejects(
    listenForwarder(
      { clock: systemClock, log: collectingLog([]), local },
      { host, port },
      { servers: () => [] },
    ),
    (error: unknown) => error instanceof SkerryError && error.code === "api-listen-failed",
  );
});
