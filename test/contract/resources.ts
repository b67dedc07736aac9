/**
 * What every implementation of resources keeps (src/resources/README.md). Reads may lag behind
 * writes (a mirror's do), so they wait for what they expect; nothing else may show what is below.
 */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import {
  configMapKind,
  deploymentKind,
  namespaceKind,
  nodeKind,
  podKind,
  type KindDefinition,
  type KubeObject,
  type Node,
  type ObjectKey,
} from "../../src/api/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import type { Resources } from "../../src/resources/index.ts";
import {
  collect,
  configMap,
  deployment,
  done,
  eventText,
  pod,
  refusal,
} from "../support/resources.ts";
import { waitFor } from "../support/wait.ts";

export interface ResourcesFixture extends AsyncDisposable {
  readonly resources: Resources;
  /** Forgets the history up to now. */
  compact(): Promise<void>;
}

export function resourcesContract(name: string, create: () => Promise<ResourcesFixture>): void {
  const check = (
    title: string,
    body: (resources: Resources, fixture: ResourcesFixture) => Promise<void>,
  ) =>
    test(`${name}: ${title}`, { timeout: 60_000 }, async () => {
      await using fixture = await create();
      await body(fixture.resources, fixture);
    });

  const seen = <T extends KubeObject>(
    resources: Resources,
    kind: KindDefinition<T>,
    key: ObjectKey,
    condition: (object: T) => boolean = () => true,
  ): Promise<T> =>
    waitFor(
      async () => {
        const object = await resources.get(kind, key);
        return object && condition(object) ? object : undefined;
      },
      { what: `${kind.kind} ${key.name}` },
    );
  const gone = (resources: Resources, kind: KindDefinition, key: ObjectKey) =>
    waitFor(async () => (await resources.get(kind, key)) === undefined, {
      what: `${kind.kind} ${key.name} to be gone`,
    });
  const at = (key: string) => ({ namespace: "default", name: key });

  check("R1: an object comes back as it was made, with identity and version", async (resources) => {
    const made = done(await resources.create(configMapKind, configMap("a", { color: "red" })));
    assert.match(made.metadata.uid ?? "", /^[0-9a-f-]{36}$/);
    assert.match(made.metadata.creationTimestamp ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    assert.deepEqual(await seen(resources, configMapKind, at("a")), made);
    assert.equal(await resources.get(configMapKind, at("b")), undefined);
  });

  check("R1: a stale version is refused with conflict and changes nothing", async (resources) => {
    const first = done(await resources.create(configMapKind, configMap("a", { n: "1" })));
    const second = done(await resources.update(configMapKind, { ...first, data: { n: "2" } }));
    const stale = await resources.update(configMapKind, { ...first, data: { n: "3" } });
    assert.equal(refusal(stale).reason, "conflict");
    assert.deepEqual(
      await seen(resources, configMapKind, at("a"), ({ data }) => data?.["n"] !== "1"),
      second,
    );
  });

  check("R1: of concurrent read-modify-writes none is lost", async (resources) => {
    let current = done(await resources.create(configMapKind, configMap("counter", { n: "0" })));
    const add = async () => {
      for (;;) {
        const from = (await resources.get(configMapKind, at("counter"))) ?? current;
        const n = String(Number(from.data?.["n"]) + 1);
        const result = await resources.update(configMapKind, { ...from, data: { n } });
        if (result.state === "done") {
          current = result.object;
          return;
        }
        assert.equal(refusal(result).reason, "conflict");
      }
    };
    await Promise.all(Array.from({ length: 8 }, add));
    const end = await seen(
      resources,
      configMapKind,
      at("counter"),
      ({ data }) => data?.["n"] === "8",
    );
    assert.equal(end.data?.["n"], "8");
  });

  check("R1: a write that changes nothing makes no version", async (resources) => {
    const made = done(await resources.create(deploymentKind, deployment("web")));
    const again = done(await resources.update(deploymentKind, made));
    assert.equal(again.metadata.resourceVersion, made.metadata.resourceVersion);
  });

  check("R1: without a version the last writer wins", async (resources) => {
    done(await resources.create(configMapKind, configMap("a", { n: "1" })));
    const result = done(await resources.update(configMapKind, configMap("a", { n: "2" })));
    assert.equal(result.data?.["n"], "2");
  });

  check("R2: refusals name the field and change nothing", async (resources) => {
    const wrong = deployment("web");
    wrong.spec.template.metadata = { labels: { app: "other" } };
    const result = refusal(await resources.create(deploymentKind, wrong));
    assert.equal(result.reason, "invalid");
    assert.deepEqual(
      result.causes?.map(({ field }) => field),
      ["spec.template.metadata.labels"],
    );
    assert.equal(await resources.get(deploymentKind, at("web")), undefined);

    const unknown = { ...configMap("a"), dta: { x: "1" } };
    const strict = refusal(await resources.create(configMapKind, unknown));
    assert.match(strict.message, /dta: unknown field/);
    const warned = await resources.create(configMapKind, unknown, { fieldValidation: "warn" });
    assert.equal(warned.state, "done");
    assert.match(String(warned.state === "done" && warned.warnings?.[0]), /dta/);
  });

  check("R2: an existing name, a missing object, another uid", async (resources) => {
    const made = done(await resources.create(configMapKind, configMap("a")));
    assert.equal(refusal(await resources.create(configMapKind, configMap("a"))).reason, "exists");
    assert.equal(
      refusal(await resources.update(configMapKind, configMap("b"))).reason,
      "not-found",
    );
    assert.equal(refusal(await resources.delete(configMapKind, at("b"))).reason, "not-found");
    const other = {
      ...made,
      metadata: { ...made.metadata, uid: "another", resourceVersion: undefined },
    };
    assert.equal(refusal(await resources.update(configMapKind, other)).reason, "conflict");
  });

  check("R2: a dry run answers and changes nothing", async (resources) => {
    const result = done(await resources.create(configMapKind, configMap("a"), { dryRun: true }));
    assert.equal(result.metadata.name, "a");
    assert.equal(await resources.get(configMapKind, at("a")), undefined);
  });

  check("R2: names are generated", async (resources) => {
    const template = {
      ...configMap(""),
      metadata: { name: "", namespace: "default", generateName: "job-" },
    };
    const [a, b] = [
      done(await resources.create(configMapKind, template)),
      done(await resources.create(configMapKind, template)),
    ];
    assert.match(a.metadata.name, /^job-[a-z0-9]{5}$/);
    assert.notEqual(a.metadata.name, b.metadata.name);
  });

  check(
    "R3: a watch from a list's version tells every change once, in order",
    async (resources) => {
      const made = done(await resources.create(configMapKind, configMap("a", { n: "0" })));
      await seen(resources, configMapKind, at("a"));
      const { resourceVersion } = await resources.list(configMapKind, { namespace: "default" });
      const watch = resources.watch(configMapKind, { namespace: "default", resourceVersion });
      const events = collect(watch, (all) => all.some(({ type }) => type === "DELETED"));
      done(await resources.update(configMapKind, { ...made, data: { n: "1" } }));
      done(await resources.create(configMapKind, configMap("b")));
      done(await resources.delete(configMapKind, at("a")));
      const told = (await events).filter(({ type }) => type !== "BOOKMARK").map(eventText);
      assert.deepEqual(told, ["MODIFIED a", "ADDED b", "DELETED a"]);
    },
  );

  check("R3: an object enters and leaves a selection", async (resources) => {
    const watch = resources.watch(configMapKind, { labelSelector: "tier=front" });
    const events = collect(watch, (all) => all.some(({ type }) => type === "DELETED"));
    const made = done(await resources.create(configMapKind, configMap("a")));
    await seen(resources, configMapKind, at("a"));
    const labelled = { ...made, metadata: { ...made.metadata, labels: { tier: "front" } } };
    const inside = done(await resources.update(configMapKind, labelled));
    const back = { ...inside, metadata: { ...inside.metadata, labels: { tier: "back" } } };
    done(await resources.update(configMapKind, back));
    const told = (await events).filter(({ type }) => type !== "BOOKMARK").map(eventText);
    assert.deepEqual(told, ["ADDED a", "DELETED a"]);
  });

  check("R3: a version before the known history is told compacted", async (resources, fixture) => {
    const { resourceVersion: old } = done(
      await resources.create(configMapKind, configMap("a", { n: "0" })),
    ).metadata;
    for (let n = 1; n < 4; n++)
      done(await resources.update(configMapKind, configMap("a", { n: String(n) })));
    await seen(resources, configMapKind, at("a"), ({ data }) => data?.["n"] === "3");
    await fixture.compact();
    await assert.rejects(
      collect(resources.watch(configMapKind, { resourceVersion: old }), () => false),
      (error) => error instanceof SkerryError && error.code === "compacted",
    );
  });

  check("R4: what is there, a bookmark, then changes", async (resources) => {
    done(await resources.create(configMapKind, configMap("a")));
    done(await resources.create(configMapKind, configMap("b")));
    await seen(resources, configMapKind, at("b"));
    const watch = resources.watch(configMapKind);
    const events = collect(watch, (all) => all.some((event) => eventText(event) === "ADDED c"));
    done(await resources.create(configMapKind, configMap("c")));
    const told = (await events).map(eventText);
    assert.deepEqual(told.slice(0, 3), ["ADDED a", "ADDED b", "BOOKMARK"]);
    assert.equal(told.at(-1), "ADDED c");
  });

  check("R4: a resting watch learns how far history has gone", async (resources) => {
    const { resourceVersion } = await resources.list(configMapKind);
    const made = done(await resources.create(nodeKind, node("n1")));
    const bookmark = collect(resources.watch(configMapKind, { resourceVersion }), (all) => {
      const last = all.at(-1);
      return (
        last?.type === "BOOKMARK" &&
        Number(last.resourceVersion) >= Number(made.metadata.resourceVersion)
      );
    });
    assert.ok((await bookmark).length >= 1);
  });

  check("R4: a watch ends quietly with its signal", async (resources) => {
    const controller = new AbortController();
    const watch = resources.watch(configMapKind, { signal: controller.signal });
    const seenAll = collect(watch, (all) => {
      if (all.some(({ type }) => type === "BOOKMARK")) controller.abort();
      return false;
    });
    assert.equal((await seenAll).at(-1)?.type, "BOOKMARK");
  });

  check("R5: pages show one revision", async (resources) => {
    for (const key of ["a", "b", "c", "d", "e"])
      done(await resources.create(configMapKind, configMap(key)));
    await seen(resources, configMapKind, at("e"));
    const first = await resources.list(configMapKind, { limit: 2 });
    done(await resources.delete(configMapKind, at("c")));
    done(await resources.create(configMapKind, configMap("aa")));
    const names = first.items.map(({ metadata }) => metadata.name);
    let token = first.continueToken;
    while (token !== undefined) {
      const page = await resources.list(configMapKind, { limit: 2, continueToken: token });
      assert.equal(page.resourceVersion, first.resourceVersion);
      names.push(...page.items.map(({ metadata }) => metadata.name));
      token = page.continueToken;
    }
    assert.deepEqual(names, ["a", "b", "c", "d", "e"]);
  });

  check("R5: lists select by namespace, labels and fields", async (resources) => {
    done(await resources.create(podKind, pod("a", { nodeName: "n1" })));
    done(await resources.create(podKind, pod("b", { nodeName: "n2" })));
    await seen(resources, podKind, at("b"));
    const names = async (options: Parameters<Resources["list"]>[1]) =>
      (await resources.list(podKind, options)).items.map(({ metadata }) => metadata.name);
    assert.deepEqual(await names({ fieldSelector: "spec.nodeName=n2" }), ["b"]);
    assert.deepEqual(await names({ labelSelector: "app in (a,c)" }), ["a"]);
    assert.deepEqual(await names({ namespace: "kube-system" }), []);
    assert.deepEqual(await names({ namespace: "default", fieldSelector: "metadata.name=a" }), [
      "a",
    ]);
    await assert.rejects(
      resources.list(podKind, { fieldSelector: "spec.color=red" }),
      (error) => error instanceof SkerryError && error.code === "invalid-selector",
    );
  });

  check("R6: status and spec do not overwrite each other", async (resources) => {
    const made = done(
      await resources.create(deploymentKind, { ...deployment("web"), status: { replicas: 9 } }),
    );
    assert.equal(made.status?.replicas, undefined);
    assert.equal(made.metadata.generation, 1);
    const status = done(
      await resources.update(
        deploymentKind,
        { ...made, spec: { ...made.spec, replicas: 7 }, status: { replicas: 2 } },
        { subresource: "status" },
      ),
    );
    assert.deepEqual([status.spec.replicas, status.status?.replicas], [2, 2]);
    assert.equal(status.metadata.generation, 1);
    const spec = done(
      await resources.update(deploymentKind, {
        ...status,
        spec: { ...status.spec, replicas: 3 },
        status: { replicas: 8 },
      }),
    );
    assert.deepEqual([spec.spec.replicas, spec.status?.replicas], [3, 2]);
    assert.equal(spec.metadata.generation, 2);
  });

  check("R6: scale changes the replicas only", async (resources) => {
    done(await resources.create(deploymentKind, deployment("web", 1)));
    const scaled = done(
      await resources.patch(
        deploymentKind,
        at("web"),
        { type: "merge", body: { spec: { replicas: 5 } } },
        { subresource: "scale" },
      ),
    );
    assert.equal(scaled.spec.replicas, 5);
    assert.equal(scaled.metadata.generation, 2);
    const wrong = await resources.patch(
      deploymentKind,
      at("web"),
      { type: "merge", body: { spec: { replicas: -1 } } },
      { subresource: "scale" },
    );
    assert.match(refusal(wrong).message, /replicas/);
  });

  check("R7: a pod on a node goes when its node confirms", async (resources) => {
    done(
      await resources.create(
        podKind,
        pod("a", { nodeName: "n1", terminationGracePeriodSeconds: 9 }),
      ),
    );
    const deleting = done(await resources.delete(podKind, at("a")));
    assert.equal(deleting.metadata.deletionGracePeriodSeconds, 9);
    assert.ok(deleting.metadata.deletionTimestamp);
    await seen(
      resources,
      podKind,
      at("a"),
      ({ metadata }) => metadata.deletionTimestamp !== undefined,
    );
    const longer = done(await resources.delete(podKind, at("a"), { gracePeriodSeconds: 90 }));
    assert.equal(longer.metadata.deletionGracePeriodSeconds, 9);
    done(await resources.delete(podKind, at("a"), { gracePeriodSeconds: 0 }));
    await gone(resources, podKind as KindDefinition, at("a"));
  });

  check("R7: a pod that was never on a node goes at once", async (resources) => {
    done(await resources.create(podKind, pod("a")));
    done(await resources.delete(podKind, at("a")));
    await gone(resources, podKind as KindDefinition, at("a"));
  });

  check("R7: finalizers hold an object until the last is gone", async (resources) => {
    const held = {
      ...configMap("a"),
      metadata: { ...configMap("a").metadata, finalizers: ["skerry.dev/x"] },
    };
    done(await resources.create(configMapKind, held));
    const deleting = done(await resources.delete(configMapKind, at("a")));
    assert.ok(deleting.metadata.deletionTimestamp);
    const freed = { ...deleting, metadata: { ...deleting.metadata, finalizers: [] } };
    done(await resources.update(configMapKind, freed));
    await gone(resources, configMapKind as KindDefinition, at("a"));
  });

  check("R7: deletions may name the uid and the version they mean", async (resources) => {
    const made = done(await resources.create(configMapKind, configMap("a")));
    const other = await resources.delete(configMapKind, at("a"), { preconditions: { uid: "x" } });
    assert.equal(refusal(other).reason, "conflict");
    const { uid, resourceVersion } = made.metadata;
    done(
      await resources.delete(configMapKind, at("a"), { preconditions: { uid, resourceVersion } }),
    );
  });

  check("R7: nothing is created in a namespace that is missing or going", async (resources) => {
    const missing = { ...configMap("a"), metadata: { name: "a", namespace: "later" } };
    assert.equal(refusal(await resources.create(configMapKind, missing)).reason, "not-found");
    const later = { apiVersion: "v1", kind: "Namespace", metadata: { name: "later" } } as const;
    done(await resources.create(namespaceKind, later));
    done(await resources.create(configMapKind, missing));
    const going = done(await resources.delete(namespaceKind, { name: "later" }));
    assert.ok(going.metadata.deletionTimestamp);
    const tooLate = { ...configMap("b"), metadata: { name: "b", namespace: "later" } };
    assert.equal(refusal(await resources.create(configMapKind, tooLate)).reason, "forbidden");
    assert.equal(
      refusal(await resources.delete(namespaceKind, { name: "default" })).reason,
      "forbidden",
    );
  });

  check("R8: merge, strategic and JSON patches", async (resources) => {
    done(await resources.create(deploymentKind, deployment("web")));
    const labelled = done(
      await resources.patch(deploymentKind, at("web"), {
        type: "merge",
        body: { metadata: { labels: { a: "1" } } },
      }),
    );
    assert.deepEqual(labelled.metadata.labels, { a: "1" });
    const image = done(
      await resources.patch(deploymentKind, at("web"), {
        type: "strategic",
        body: { spec: { template: { spec: { containers: [{ name: "main", image: "other" }] } } } },
      }),
    );
    const [container] = image.spec.template.spec.containers;
    assert.equal(container?.image, "other");
    assert.equal(container?.ports?.[0]?.containerPort, 8080);
    const json = done(
      await resources.patch(deploymentKind, at("web"), {
        type: "json",
        body: [{ op: "replace", path: "/spec/replicas", value: 4 }],
      }),
    );
    assert.equal(json.spec.replicas, 4);
    const failing = await resources.patch(deploymentKind, at("web"), {
      type: "json",
      body: [
        { op: "replace", path: "/spec/replicas", value: 9 },
        { op: "test", path: "/spec/paused", value: true },
      ],
    });
    assert.equal(refusal(failing).reason, "invalid");
    const rename = await resources.patch(deploymentKind, at("web"), {
      type: "merge",
      body: { metadata: { name: "other" } },
    });
    assert.match(refusal(rename).message, /metadata\.name/);
  });

  check("R9: apply creates, conflicts, forces and removes", async (resources) => {
    const apply = (manager: string, data: Record<string, string>, force = false) =>
      resources.patch(
        configMapKind,
        at("a"),
        { type: "apply", body: { apiVersion: "v1", kind: "ConfigMap", data }, force },
        { fieldManager: manager },
      );
    const made = done(await apply("one", { x: "1", y: "1" }));
    assert.deepEqual(made.data, { x: "1", y: "1" });
    assert.deepEqual(done(await apply("two", { y: "1", z: "2" })).data, { x: "1", y: "1", z: "2" });
    const conflict = refusal(await apply("two", { x: "9", z: "2" }));
    assert.equal(conflict.reason, "conflict");
    assert.match(conflict.message, /conflict with "one" using v1: \.data\.x/);
    assert.deepEqual(done(await apply("two", { x: "9", z: "2" }, true)).data, {
      x: "9",
      y: "1",
      z: "2",
    });
    assert.deepEqual(done(await apply("one", {})).data, { x: "9", z: "2" });
  });
}

export function node(name: string): Node {
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, labels: { "kubernetes.io/hostname": name } },
    status: { addresses: [{ type: "InternalIP", address: "127.0.0.11" }] },
  };
}
