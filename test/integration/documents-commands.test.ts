/** `skerry data get|put|delete|conflicts|query|verify` against a node's gateway, by the credentials of its data folder. */
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { Command } from "commander";
import { registerData } from "../../src/cli/commands/data.ts";
import { createContext } from "../../src/cli/context.ts";
import { stable } from "../../src/api/index.ts";
import {
  connectAudit,
  createAuditRoutes,
  createAudits,
  createQueryRoutes,
  createDocumentRoutes,
  createDocumentWrites,
  createQueries,
  createSql,
  createSqlRoutes,
  createStreamRoutes,
  serveAudit,
} from "../../src/data/index.ts";
import { createAppTokenVerifier } from "../../src/identity/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import {
  noFaults,
  peerOf,
  virtualLink,
  virtualRouter,
} from "../../src/drill/simulated/convergence/links.ts";
import { createHttpApp, setCaller } from "../../src/runtime/http/index.ts";
import { writeInfo } from "../../src/runtime/local/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { items, notes, openDocuments, put, replicate, write } from "../support/documents.ts";
import { joined } from "../support/joined.ts";
import { startLive } from "../support/queries-live.ts";
import { declareOrders, openReadings, orders } from "../support/orders.ts";

const nowMs = () => Date.now();

test("documents are put, merged, read and listed, and conflicts told with every value", async (t) => {
  const folder = temporaryFolder();
  const dataDir = folder.path;
  const identity = await joined(dataDir);
  const verifier = createAppTokenVerifier({ nowMs, trust: () => identity.trust });
  const store = await openDocuments(join(dataDir, "documents.db"));
  const other = await openDocuments(join(dataDir, "other.db"), "n2");
  const nobody = { vectorsByNode: () => new Map(), on: () => () => undefined };
  const writes = createDocumentWrites({
    store,
    peers: nobody,
    cellNodes: () => 1,
    clock: systemClock,
  });
  const app = createHttpApp();
  app.addHook("onRequest", async (request) => {
    const token = request.headers.authorization?.replace("Bearer ", "") ?? "";
    const verdict = verifier.verify(token);
    if (!verdict.ok)
      throw new SkerryError({ code: "unauthenticated", message: "no token of this cell" });
    setCaller(request, verdict.subject.id);
  });
  createDocumentRoutes({ store, writes, clock: systemClock })(app);
  const queries = createQueries(
    { clock: systemClock },
    { documentsPath: join(dataDir, "documents.db"), streamsPath: join(dataDir, "streams.db") },
  );
  const { live } = startLive({ queries, store });
  createQueryRoutes({
    queries,
    live,
    declared: { isCollection: () => true, isStream: () => true },
  })(app);
  const sql = createSql(
    { clock: systemClock, declared: () => ({ collections: [], streams: [] }) },
    { documentsPath: join(dataDir, "documents.db"), streamsPath: join(dataDir, "streams.db") },
  );
  createSqlRoutes(sql)(app);
  const streams = await openReadings(join(dataDir, "streams.db"));
  createStreamRoutes(streams, { clock: systemClock })(app);
  // The audit's thread of either node, and a link between them.
  const entry = new URL("../../src/agent/audit.entry.ts", import.meta.url);
  const [own, theirs] = ["documents.db", "other.db"].map((name) => {
    const files = { documentsPath: join(dataDir, name), streamsPath: join(dataDir, "streams.db") };
    return createAudits({ clock: systemClock }, { entry, files });
  });
  assert.ok(own && theirs);
  const ends = ["n1", "n2"].map((name) => ({
    peer: peerOf("shop.skerry", "node", name),
    router: virtualRouter(),
  }));
  const [left, right] = ends;
  assert.ok(left && right);
  serveAudit(right.router, { prefix: "audit", side: theirs, scopeOf: () => ({}) });
  const link = virtualLink(
    { clock: systemClock, random: systemRandom, faults: () => noFaults },
    { left, right },
  );
  let isLinked = false;
  createAuditRoutes({
    own: { node: "n1", side: own },
    partners: () => [{ name: "n2", side: isLinked ? connectAudit(link.left, "audit") : undefined }],
    atHub: () => undefined,
    clock: systemClock,
  })(app);
  const gateway = await app.listen({ host: "127.0.0.1", port: 0 });
  writeInfo(dataDir, "node", { node: "n1", gateway });
  t.after(async () => {
    // What can be resumed would keep this process for a minute.
    live.stop();
    await app.close();
    await Promise.all([queries.stop(), own.stop(), theirs.stop()]);
    await Promise.all([store.close(), other.close(), streams.close()]);
    folder[Symbol.dispose]();
  });

  const context = createContext();
  const run = async (...words: string[]): Promise<string> => {
    const lines: string[] = [];
    const line = (text: string) => void lines.push(text);
    const output = { ...context.output, isTerminal: false, line, note: line };
    const program = new Command("skerry").exitOverride();
    // What lasts ends after the first it printed.
    const ended = new AbortController();
    const once = (text: string) => {
      line(text);
      ended.abort();
    };
    registerData(program, {
      ...context,
      output: words.includes("--live") ? { ...output, line: once } : output,
      stop: () => ended.signal,
    });
    await program.parseAsync(["node", "skerry", "data", ...words, "--data", dataDir]);
    return lines.join("\n");
  };

  assert.equal(
    await run("put", "items", "a", '{"name":"bolt","stock":4}'),
    "items/a written, reached: local",
  );
  assert.match(await run("put", "items", "a", '{"name":"bolt"}', "--merge"), /was so already/);
  assert.deepEqual(JSON.parse(await run("get", "items", "a")), { name: "bolt", stock: 4 });
  assert.equal(await run("get", "items"), 'ID\tCONFLICTS\tBODY\na\t0\t{"name":"bolt","stock":4}');
  assert.equal(await run("conflicts"), "no conflicts");

  await replicate(store, other);
  await write(store, put("a", { name: "screw", stock: 4 }));
  await write(other, put("a", { name: "nail", stock: 4 }));
  await replicate(other, store);
  const told = await run("conflicts");
  assert.match(
    told,
    /^items\/a \/name: shown is "(screw|nail)"\n {2}not shown: "(nail|screw)", written at n[12], 20/,
  );
  const { conflicts } = JSON.parse(await run("conflicts", "items", "--json")) as {
    conflicts: unknown[];
  };
  assert.equal(conflicts.length, 1);
  // As its help says: the field is written again, with what is shown.
  const shown = JSON.parse(await run("get", "items", "a", "--json")) as { body: object };
  await run("put", "items", "a", JSON.stringify(shown.body));
  assert.equal(await run("conflicts", "items"), "no conflicts");
  await run("put", "items", "a", '{"name":"screw nail"}', "--merge");

  const references = [{ path: "/of", collection: "notes", onDelete: "keep" }] as const;
  await store.declare([{ ...items, unique: [{ paths: ["/name"] }], references }, notes]);
  await write(other, put("b", { name: "screw nail", of: "nothing" }));
  await replicate(other, store);
  assert.match(
    await run("conflicts"),
    /^items\/b \/of: there is no notes\/nothing; settled when .*\nitems\/b \/name: "screw nail" belongs to items\/a, written at n1, 20.*; settled when/,
  );
  await run("put", "items", "b", '{"name":"nail","of":null}', "--merge");
  assert.equal(await run("conflicts"), "no conflicts");

  await assert.rejects(run("get", "items", "none"), { code: "document-unknown" });

  // Queries of a node, as docs/queries.md has them; those of a hub name its folder.
  await declareOrders(store);
  const docs = readFileSync(resolve(import.meta.dirname, "../../docs/queries.md"), "utf8");
  const asked = docs.matchAll(/^skerry data (query (?!.*--data ).*)$/gm);
  const commands = [...asked].map(([, line = ""]) =>
    [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? ""),
  );
  const printed: string[] = [];
  for (const command of commands) printed.push(await run(...command));
  assert.deepEqual(printed, [
    "ID\tTOTAL\tCUSTOMER.CITY\no3\t250\tBergen\no1\t120\tOslo",
    "STATUS\tCOUNT\tSUM(TOTAL)\tMAX(TOTAL)\nopen\t3\t395\t250\npaid\t1\t80.5\t80.5",
    [
      "id,body",
      ...orders
        .filter(({ body }) => "tags" in body && body.tags.some((tag) => tag === "gift"))
        .map(({ id, body }) => `${id},"${stable(body).replaceAll('"', '""')}"`),
    ].join("\n"),
    "WINDOW\tSENSOR\tCOUNT\tAVG(CELSIUS)\tMAX(CELSIUS)\tLAST(CELSIUS)\n2026-01-01T08:00:00.000Z\ts1\t2\t20\t21\t21\n2026-01-01T08:10:00.000Z\ts1\t1\t24\t24\t24\n2026-01-01T08:10:00.000Z\ts2\t1\t18\t18\t18",
    "at,sensor,celsius\n2026-01-01T08:05:00.000Z,s1,21\n2026-01-01T08:12:00.000Z,s1,24",
    "WINDOW\tMAX(CELSIUS)\n2026-01-01T08:00:00.000Z\t24",
    "CHANGE\tAT\tID\tTOTAL\nadded\t0\to3\t250\nadded\t1\to1\t120",
    '{"event":"result","rows":[{"id":"o3","body":{"customer":{"city":"Bergen"},"due":"2026-01-20","status":"open","total":250}},{"id":"o1","body":{"customer":{"city":"Oslo"},"due":"2026-02-01","status":"open","tags":["gift"],"total":120}}]}',
  ]);
  assert.equal(
    await run("query", "orders", "--sort", "-total", "--fields", "id", "--limit", "1", "--json"),
    '{"id":"o3","body":{}}\nthere is more; --limit 10 shows it',
  );
  assert.match(
    await run("query", "orders", "--where", 'status = "paid"', "--fields", "id", "--explain"),
    /^ID\no4\nlooked for through a range of the index on \/status, .*; 1 looked at\n {2}SQLite: SEARCH/,
  );
  assert.equal(
    await run(
      "query",
      "orders",
      "--fields",
      "customer.city",
      "--where",
      'id in ("o1", "o4")',
      "--csv",
    ),
    'customer.city\nOslo\n"Bergen, north"',
  );
  await assert.rejects(run("query", "orders", "--where", "status >"), {
    message:
      'where, character 9: expected a value: "text", a number, true, false or null, found the end',
    hint: "status >⟵ here",
  });
  await assert.rejects(run("query", "order"), {
    code: "stream-unknown",
    message: 'there is no collection or stream "order"',
    hint: "there are items, notes, orders, readings",
  });
  await assert.rejects(run("query", "notes"), {
    hint: "say which: --of collection, or --of stream",
  });
  assert.equal(await run("query", "notes", "--of", "collection"), "ID\tBODY");
  await assert.rejects(run("query", "orders", "--window", "10m"), {
    message: "--window: is of a stream, and orders is a collection",
  });
  await assert.rejects(run("query", "orders", "--live", "--by", "status"), {
    message: "--by: does not go with --live",
  });
  await assert.rejects(run("query", "readings", "--sort", "celsius"), {
    message: "--sort: is of a collection, and readings is a stream",
  });

  const statements = [...docs.matchAll(/^skerry data (sql .*)$/gm)].map(([, line = ""]) =>
    [...line.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(([, a, b, c]) => a ?? b ?? c ?? ""),
  );
  const answered: string[] = [];
  for (const statement of statements) answered.push(await run(...statement));
  assert.deepEqual(answered, [
    "NAME\tKIND\nitems\tcollection\norders\tcollection\nreadings\tstream",
    "STATUS\tN\nopen\t3\npaid\t1",
    'at,sequence,body\n2026-01-01T08:12:00.000Z,,"{""sensor"":""s1"",""celsius"":24}"\n2026-01-01T08:19:00.000Z,,"{""sensor"":""s2"",""celsius"":18}"',
  ]);

  const [, line = ""] = /^skerry data (export .*)$/m.exec(docs) ?? [];
  const out = join(dataDir, "readings.parquet");
  const exported = line.split(" ").map((word) => (word === "readings.parquet" ? out : word));
  assert.match(await run(...exported), /^4 entries of readings into /);
  assert.equal(readFileSync(out).subarray(-4).toString(), "PAR1");

  // Comparing stores, as docs/data.md has it.
  const verify = async (...words: string[]): Promise<[string, unknown]> => {
    const text = await run("verify", ...words);
    const { exitCode } = process;
    process.exitCode = undefined;
    return [text, exitCode];
  };
  const [told1, code1] = await verify("items");
  assert.match(
    told1,
    /^KIND.*\ncollection\titems\tn2\tundecided\t2\tn2: there is no link to it now$/,
  );
  assert.equal(code1, 2);
  isLinked = true;
  await replicate(store, other);
  const guide = readFileSync(resolve(import.meta.dirname, "../../docs/data.md"), "utf8");
  const verifications = [...guide.matchAll(/^skerry data verify ?(.*)$/gm)];
  const outcomes: [string, unknown][] = [];
  for (const [, line = ""] of verifications)
    outcomes.push(await verify(...line.split(" ").filter(Boolean)));
  const header = "KIND\tNAME\tWITH\tSTATE\tITEMS\tWHY";
  const collections = ["collection\titems\tn2\tequal\t2\t", "collection\torders\tn2\tequal\t4\t"];
  const readings = "stream\treadings\tn2\tequal\t4\t";
  assert.deepEqual(outcomes, [
    [[header, ...collections, readings, "all equal"].join("\n"), 0],
    [[header, collections[0], readings, "all equal"].join("\n"), 0],
  ]);
  const changes = await run("verify", "items", "--json");
  assert.match(changes, /"event":"compared".*"upto":\{"n1\..*\n\{"event":"end","state":"equal"\}$/);
  await assert.rejects(run("verify", "none"), {
    code: "invalid-query",
    message: 'names: "none" is neither a collection nor a stream with anything to compare',
  });
  await assert.rejects(run("verify", "--with", "n9"), { code: "invalid-query" });
  const app1 = await fetch(`${gateway}/v1/data/verify`, { method: "POST" });
  assert.equal(app1.status, 401);

  await assert.rejects(run("put", "items", "a", "[1]"), { code: "invalid-argument" });
  await assert.rejects(run("put", "items", "a", "{"), { code: "invalid-argument" });

  await run("put", "items", "z", "{}");
  assert.equal(await run("delete", "items", "z"), "items/z deleted, reached: local");
  assert.equal(await run("delete", "items", "z"), "items/z was not there, reached: local");
});
