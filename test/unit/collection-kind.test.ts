/** The kind Collection: what it refuses, by field, value and what is allowed. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { checkObject, collectionKind, type Collection } from "../../src/api/index.ts";

function collection(spec: object): string[] {
  const checked = checkObject(collectionKind, {
    apiVersion: "skerry.dev/v1alpha1",
    kind: "Collection",
    metadata: { name: "items" },
    spec,
  });
  return checked.ok ? [] : checked.issues.map(({ field, message }) => `${field}: ${message}`);
}
const field = (path: string, type = "string") => ({ path, type });

test("a collection's fields are checked", () => {
  assert.deepEqual(
    collection({
      schemaVersion: 2,
      scope: "cell",
      consistency: "merge",
      onMismatch: "warn",
      fields: [field("/name"), field("/stock", "counter"), field("/size/mm~1inch", "number")],
    }),
    [],
  );
  assert.match(collection({ scope: "both" })[0] ?? "", /spec\.egress: is missing/);
  assert.deepEqual(collection({ scope: "both", egress: { drop: [] } }), []);
  assert.match(
    collection({ scope: "all" })[0] ?? "",
    /spec\.scope: "all" must be cell or cellsToHub/,
  );
  assert.match(collection({ consistency: "none" })[0] ?? "", /"none" must be merge or strong/);
  const egress = { keep: ["a"] };
  assert.deepEqual(collection({ scope: "cellsToHub", egress }), []);
  assert.match(collection({ egress })[0] ?? "", /spec\.scope: must be cellsToHub/);
  assert.match(collection({ scope: "cellsToHub" })[0] ?? "", /spec\.egress: is missing/);
  assert.match(collection({ fields: [field("name")] })[0] ?? "", /fields\[0\]\.path: "name" must/);
  assert.match(collection({ fields: [field("/a", "blob")] })[0] ?? "", /"blob" must be string/);
  assert.match(collection({ fields: [field("/a"), field("/a")] })[0] ?? "", /declared twice/);
  assert.match(
    collection({ fields: [field("/a", "set"), field("/a/b")] })[0] ?? "",
    /"\/a\/b" is below \/a, which is declared as set/,
  );
  assert.deepEqual(collection({ indexes: [{ path: "/name" }, { path: "/size/mm" }] }), []);
  assert.match(
    collection({ indexes: [{ path: "name" }] })[0] ?? "",
    /indexes\[0\]\.path: "name" must/,
  );
  const twice = [{ path: "/a" }, { path: "/a" }];
  assert.match(collection({ indexes: twice })[0] ?? "", /indexes\[1\]\.path: .* declared twice/);
  const many = Array.from({ length: 17 }, (_, at) => ({ path: `/f${at}` }));
  assert.match(collection({ indexes: many })[0] ?? "", /indexes: 17 indexes; at most 16/);
});

test("what has no meaning in a strong collection is refused by name, and none becomes the other kind", () => {
  const strong = (spec: object) => collection({ consistency: "strong", ...spec });
  const fields = [field("/name"), field("/stock", "counter"), field("/tags", "set")];
  assert.deepEqual(strong({ scope: "cell", fields }), []);
  assert.match(
    strong({ scope: "hubToCells" })[0] ?? "",
    /^spec\.scope: "hubToCells" must be cell with consistency: strong/,
  );
  assert.match(
    strong({ fields: [field("/notes", "text")] })[0] ?? "",
    /^spec\.fields\[0\]\.type: "text" of \/notes .* it must be string/,
  );
  for (const [name, value] of Object.entries({
    indexes: [{ path: "/name" }],
    unique: [{ paths: ["/name"] }],
    references: [{ path: "/by", collection: "users" }],
  }))
    assert.match(strong({ [name]: value })[0] ?? "", new RegExp(`^spec\\.${name}: must not be`));

  const named = (consistency?: string): Collection => ({
    apiVersion: "skerry.dev/v1alpha1",
    kind: "Collection",
    metadata: { name: "items" },
    spec: consistency === undefined ? {} : { consistency },
  });
  const changed = (now: Collection, before: Collection) =>
    collectionKind.validate(now, before).map(({ field: at }) => at);
  assert.deepEqual(changed(named("strong"), named("merge")), ["spec.consistency"]);
  assert.deepEqual(changed(named("strong"), named()), ["spec.consistency"]);
  assert.deepEqual(changed(named("merge"), named("strong")), ["spec.consistency"]);
  assert.deepEqual(changed(named("merge"), named()), []);
});

test("how long documents stay and which go first is checked", () => {
  const egress = { drop: [] };
  assert.deepEqual(collection({ retention: { maxAge: "90d" } }), []);
  assert.deepEqual(
    collection({ retention: { maxAge: "1h30m" }, priority: -3, scope: "both", egress }),
    [],
  );
  for (const [spec, problem] of [
    [{ retention: { maxAge: "90" } }, /^spec\.retention\.maxAge: "90" is not a duration$/],
    [{ retention: { maxAge: "0s" } }, /^spec\.retention\.maxAge: must be more than 0/],
    [{ retention: {} }, /^spec\.retention\.maxAge/],
    [
      { retention: { maxAge: "1d" }, scope: "hubToCells" },
      /^spec\.retention: must not be there: the hub writes these documents/,
    ],
    [
      { retention: { maxAge: "1d" }, consistency: "strong" },
      /^spec\.retention: must not be there with consistency: strong/,
    ],
    [
      { priority: 1 },
      /^spec\.priority: orders what goes to the hub: spec\.scope must be cellsToHub/,
    ],
    [{ priority: 1.5, scope: "both", egress }, /^spec\.priority/],
  ] as const)
    assert.match(collection(spec)[0] ?? "", problem);
});

test("a collection's rules are checked", () => {
  const reference = { path: "/by", collection: "users" };
  assert.deepEqual(
    collection({
      fields: [field("/mail"), field("/by", "set")],
      unique: [{ paths: ["/mail"] }, { paths: ["/shop", "/number"] }],
      references: [reference, { path: "/last", collection: "items", onDelete: "keep" }],
    }),
    [],
  );
  for (const [spec, problem] of [
    [{ unique: [{ paths: [] }] }, /unique\[0\]\.paths: 0 paths; must be 1 to 8/],
    [{ unique: [{ paths: ["mail"] }] }, /paths\[0\]: "mail" must be a JSON pointer/],
    [{ unique: [{ paths: ["/a"] }, { paths: ["/a"] }] }, /unique\[1\]\.paths: is declared twice/],
    [
      { fields: [field("/n", "counter")], unique: [{ paths: ["/n"] }] },
      /"\/n" is declared as counter, which cannot be unique/,
    ],
    [
      { fields: [field("/by", "number")], references: [reference] },
      /references\[0\]\.path: "\/by" is declared as number, which cannot name a document/,
    ],
    [{ references: [{ ...reference, onDelete: "drop" }] }, /"drop" must be refuse or keep/],
    [{ references: [reference, reference] }, /references\[1\]\.path: .* declared twice/],
    [{ scope: "hubToCells", references: [reference] }, /spec\.references: must not be there/],
  ] as const)
    assert.match(collection(spec)[0] ?? "", problem);
});
