/** R11: a mirror needs nobody to answer, and converges to what is upstream. */
import { strict as assert } from "node:assert";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  configMapKind,
  podKind,
  streamKind,
  type ConfigMap,
  type KindDefinition,
} from "../../src/api/index.ts";
import type { Revision } from "../../src/ledger/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog, type Log } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import {
  connectMirrorStore,
  createMirror,
  openMirrorStore,
  type Mirror,
  type MirrorBatch,
  type MirrorScope,
  type MirrorStore,
  type MirrorStoreMethods,
  type Resources,
} from "../../src/resources/index.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { startThread } from "../../src/runtime/thread/index.ts";
import { temporaryFolder } from "../support/ledger.ts";
import { unavailable, withFaults } from "../support/resources-faults.ts";
import {
  collect,
  configMap,
  done,
  eventText,
  openLedgerResources,
  pod,
} from "../support/resources.ts";
import { waitFor } from "../support/wait.ts";

const deps = { clock: systemClock, log: silentLog };
const configMaps: MirrorScope = { kind: configMapKind as KindDefinition };

function mirrorOf(
  upstream: Resources,
  store: MirrorStore,
  scopes: readonly MirrorScope[] = [configMaps],
  log: Log = silentLog,
): Mirror & AsyncDisposable {
  const mirror = createMirror(
    { ...deps, log, upstream, store, random: seededRandom(1) },
    { scopes },
  );
  return Object.assign(mirror, { [Symbol.asyncDispose]: () => mirror.stop() });
}

const nobody = (resources: Resources) =>
  withFaults(resources, {
    before() {
      throw unavailable();
    },
  });

function recordingLog() {
  const messages: string[] = [];
  const log: Log = {
    ...silentLog,
    error: (message) => void messages.push(message),
    child: () => log,
  };
  return { log, messages };
}

test("R11: a node that starts alone knows what it knew", async () => {
  await using fixture = await openLedgerResources();
  const path = join(fixture.folder, "mirror.db");
  const { resources } = fixture;
  done(await resources.create(podKind, pod("mine", { nodeName: "n1" })));
  done(await resources.create(podKind, pod("other", { nodeName: "n2" })));
  const scopes = [{ kind: podKind as KindDefinition, fieldSelector: "spec.nodeName=n1" }];
  {
    const store = openMirrorStore(deps, { path });
    await using mirror = mirrorOf(resources, store, scopes);
    assert.equal(mirror.lastContactMs, undefined);
    await mirror.start();
    await mirror.whenSynced();
    assert.ok(mirror.lastContactMs !== undefined);
    await mirror.stop();
    await store.close();
  }
  const store = openMirrorStore(deps, { path });
  await using alone = mirrorOf(nobody(resources), store, scopes);
  await alone.start();
  assert.equal(alone.synced, false);
  const { items } = await alone.list(podKind);
  assert.deepEqual(
    items.map(({ metadata }) => metadata.name),
    ["mine"],
  );
  assert.equal(await alone.get(podKind, { namespace: "default", name: "other" }), undefined);
  const told = await collect(alone.watch(podKind), (all) => all.length === 2);
  assert.deepEqual(told.map(eventText), ["ADDED mine", "BOOKMARK"]);
  await assert.rejects(alone.create(podKind, pod("new")), /cut off/);
  await alone.stop();
  await store.close();
});

test("R11: a watch from disk goes on with what is found upstream", async () => {
  await using fixture = await openLedgerResources();
  const path = join(fixture.folder, "mirror.db");
  const { resources } = fixture;
  for (const name of ["a", "b"]) done(await resources.create(configMapKind, configMap(name)));
  const store = openMirrorStore(deps, { path });
  const first = mirrorOf(resources, store);
  await first.start();
  await first.whenSynced();
  await first.stop();

  let reachable = false;
  const upstream = withFaults(resources, {
    before() {
      if (!reachable) throw unavailable();
    },
  });
  await using second = mirrorOf(upstream, store);
  await second.start();
  const watched = collect(second.watch(configMapKind), (all) =>
    all.some((event) => eventText(event) === "ADDED c"),
  );
  done(await resources.update(configMapKind, configMap("a", { n: "1" })));
  done(await resources.delete(configMapKind, { namespace: "default", name: "b" }));
  reachable = true;
  await second.whenSynced();
  done(await resources.create(configMapKind, configMap("c")));
  const told = (await watched).map(eventText).filter((text) => text !== "BOOKMARK");
  assert.deepEqual(told, ["ADDED a", "ADDED b", "MODIFIED a", "DELETED b", "ADDED c"]);
  await second.stop();
  await store.close();
});

test("R11: a damaged file is set aside, said loudly, and built anew", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "mirror.db");
  for (const damage of [
    () => writeFileSync(path, "this is no database".repeat(500)),
    () => {
      const db = openDatabase(path);
      db.exec("PRAGMA user_version = 99");
      db.close();
    },
  ]) {
    damage();
    const { log, messages } = recordingLog();
    const store = openMirrorStore({ ...deps, log }, { path });
    assert.match(messages.join(), /damaged and was set aside/);
    assert.deepEqual(await store.load(), []);
    await store.apply({
      replace: false,
      put: [{ resource: "/x", key: "/a", json: "{}" }],
      delete: [],
    });
    await store.close();
    const again = openMirrorStore(deps, { path });
    assert.equal((await again.load()).length, 1);
    await again.close();
    const aside = readdirSync(folder.path).filter((name) => name.includes(".damaged-"));
    assert.equal(aside.length, 1, "one is kept, not all");
  }
});

test("R11: an object on disk that cannot be read costs only itself", async () => {
  await using fixture = await openLedgerResources();
  const store = openMirrorStore(deps, { path: join(fixture.folder, "mirror.db") });
  const good = {
    ...configMap("good"),
    metadata: { ...configMap("good").metadata, resourceVersion: "5" },
  };
  await store.apply({
    replace: false,
    put: [
      { resource: "/configmaps", key: "default/good", json: JSON.stringify(good) },
      { resource: "/configmaps", key: "default/torn", json: '{"metadata":{"na' },
    ],
    delete: [],
  });
  const { log, messages } = recordingLog();
  await using mirror = mirrorOf(nobody(fixture.resources), store, [configMaps], log);
  await mirror.start();
  assert.deepEqual((await mirror.list(configMapKind)).items, [good]);
  assert.match(messages.join(), /cannot be read/);
  await mirror.stop();
  await store.close();
});

test("R11: after a write that failed the whole state is written", async () => {
  await using fixture = await openLedgerResources();
  const batches: MirrorBatch[] = [];
  let failures = 1;
  const store: MirrorStore = {
    load: async () => [],
    async apply(batch) {
      batches.push(batch);
      if (failures-- > 0) throw new SkerryError({ code: "disk-full", message: "full" });
    },
  };
  done(await fixture.resources.create(configMapKind, configMap("a")));
  await using mirror = mirrorOf(fixture.resources, store);
  await mirror.start();
  await waitFor(() => batches.length >= 2, { what: "the second batch" });
  assert.equal(batches[0]?.replace, false);
  assert.equal(batches[1]?.replace, true);
  assert.deepEqual(
    batches[1]?.put.map(({ key }) => key),
    ["default/a"],
  );
});

test("R11: when history goes back, watchers begin anew", async () => {
  await using earlier = await openLedgerResources();
  await using later = await openLedgerResources();
  for (let n = 0; n < 5; n++)
    done(await later.resources.create(configMapKind, configMap(`later-${n}`)));
  done(await earlier.resources.create(configMapKind, configMap("earlier")));
  let restored = false;
  const upstream: Resources = {
    ...later.resources,
    list: (kind, options) => (restored ? earlier : later).resources.list(kind, options),
    watch: (kind, options) => (restored ? earlier : later).resources.watch(kind, options),
  };
  let cut = false;
  const cuttable = withFaults(upstream, {
    event() {
      if (cut) throw unavailable();
    },
  });
  const store: MirrorStore = { load: async () => [], apply: async () => {} };
  await using mirror = mirrorOf(cuttable, store);
  await mirror.start();
  await mirror.whenSynced();
  const watched = collect(mirror.watch(configMapKind), () => false);
  restored = true;
  cut = true;
  done(await later.resources.create(configMapKind, configMap("unseen")));
  await waitFor(async () => (await mirror.list(configMapKind)).items.length >= 5, {
    what: "the list",
  });
  cut = false;
  await assert.rejects(
    watched,
    (error) => error instanceof SkerryError && error.code === "compacted",
  );
  await waitFor(
    async () => {
      const { items } = await mirror.list(configMapKind);
      return items.length === 1 && items[0]?.metadata.name === "earlier";
    },
    { what: "the restored state" },
  );
});

test("R11: kinds that are not kept, and all writes, go upstream", async () => {
  await using fixture = await openLedgerResources();
  const store: MirrorStore = { load: async () => [], apply: async () => {} };
  const upstream = withFaults(fixture.resources, { hideOutcome: (method) => method === "update" });
  await using mirror = mirrorOf(upstream, store);
  await mirror.start();
  const stream = {
    apiVersion: "skerry.dev/v1alpha1",
    kind: "Stream",
    metadata: { name: "telemetry" },
  } as const;
  const made = done(await mirror.create(streamKind, stream));
  assert.deepEqual(await mirror.get(streamKind, { name: "telemetry" }), made);
  assert.equal((await mirror.list(streamKind)).items.length, 1);
  assert.equal((await mirror.update(streamKind, made)).state, "unknown");
});

test("R14: what was got by name may be changed, what was listed is shared and may not", async () => {
  await using fixture = await openLedgerResources();
  const store: MirrorStore = { load: async () => [], apply: async () => {} };
  done(await fixture.resources.create(configMapKind, configMap("a", { n: "1" })));
  await using mirror = mirrorOf(fixture.resources, store);
  await mirror.start();
  await mirror.whenSynced();
  const read = async () =>
    (await mirror.get(configMapKind, { namespace: "default", name: "a" })) as ConfigMap;
  (await read()).data = { n: "spoilt" };
  const { items } = await mirror.list(configMapKind);
  for (const object of items) assert.throws(() => (object.data = { n: "spoilt" }), TypeError);
  assert.equal((await mirror.list(configMapKind)).items[0], items[0]);
  assert.deepEqual((await read()).data, { n: "1" });
});

for (const seed of [1, 2, 3]) {
  test(`R11: under broken watches and compaction the mirror, its watchers and its disk converge (seed ${seed})`, async () => {
    await using fixture = await openLedgerResources();
    const { resources, ledger } = fixture;
    const random = seededRandom(seed);
    let calm = false;
    const upstream = withFaults(resources, {
      event() {
        if (!calm && random.integer(6) === 0) throw unavailable();
      },
      before(method) {
        if (!calm && method === "list" && random.integer(3) === 0) throw unavailable();
      },
    });
    const path = join(fixture.folder, "mirror.db");
    const store = openMirrorStore(deps, { path });
    await using mirror = mirrorOf(upstream, store);
    await mirror.start();

    const view = new Map<string, string>();
    const controller = new AbortController();
    const watching = (async () => {
      while (!controller.signal.aborted) {
        try {
          // A watch that begins anew begins with everything.
          const present = new Set<string>();
          let complete = false;
          for await (const event of mirror.watch(configMapKind, { signal: controller.signal })) {
            if (event.type === "BOOKMARK") {
              if (!complete)
                for (const name of view.keys()) if (!present.has(name)) view.delete(name);
              complete = true;
              continue;
            }
            const { name } = event.object.metadata;
            if (!complete) present.add(name);
            if (event.type === "DELETED") view.delete(name);
            else view.set(name, event.object.data?.["n"] ?? "");
          }
        } catch (error) {
          assert.ok(error instanceof SkerryError && error.code === "compacted", String(error));
        }
      }
    })();

    for (let step = 0; step < 120; step++) {
      const name = `c${random.integer(8)}`;
      const n = String(step);
      const key = { namespace: "default", name };
      if (random.integer(4) === 0) await resources.delete(configMapKind, key);
      else {
        const result = await resources.update(configMapKind, configMap(name, { n }));
        if (result.state === "refused")
          done(await resources.create(configMapKind, configMap(name, { n })));
      }
      if (random.integer(30) === 0)
        await ledger.compact((await ledger.status()).revision as Revision);
    }
    calm = true;
    const truth = async () =>
      (await resources.list(configMapKind)).items.map(({ metadata, data }) => [
        metadata.name,
        data?.["n"] ?? "",
      ]);
    const expected = await truth();
    await waitFor(
      async () => {
        const { items } = await mirror.list(configMapKind);
        const known = items.map(({ metadata, data }) => [metadata.name, data?.["n"] ?? ""]);
        return JSON.stringify(known) === JSON.stringify(expected);
      },
      { what: "the mirror to converge" },
    );
    await waitFor(() => JSON.stringify([...view].sort()) === JSON.stringify(expected), {
      what: "the watcher to converge",
    });
    controller.abort();
    await watching;
    await mirror.stop();
    const stored = (await store.load()).map(({ json }) => {
      const { metadata, data } = JSON.parse(json) as ConfigMap;
      return [metadata.name, data?.["n"] ?? ""];
    });
    assert.deepEqual(stored.sort(), expected);
    await store.close();
  });
}

test("R11: the store stands in a thread of its own", async () => {
  await using folder = await temporaryFolder();
  const thread = await startThread<MirrorStoreMethods>(
    new URL("../support/mirror.entry.ts", import.meta.url),
    { name: "storage", data: { path: join(folder.path, "mirror.db") } },
  );
  const store = connectMirrorStore(thread);
  const object = { resource: "/x", key: "/a", json: "{}" };
  await store.apply({ replace: false, put: [object], delete: [] });
  assert.deepEqual(
    (await store.load()).map((row) => ({ ...row })),
    [object],
  );
  await thread.terminate();
  await assert.rejects(
    store.load(),
    (error) => error instanceof SkerryError && error.code === "thread-ended",
  );
});
