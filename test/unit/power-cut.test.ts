/** What a disk may hold after a power cut, by the model; and what the drill concludes. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { Change } from "../../src/drill/faults/power-cut-log.ts";
import {
  createDisk,
  directoryNode,
  fileNode,
  presentTree,
  treeAfterCut,
  type DiskNode,
  type Tree,
} from "../../src/drill/faults/power-cut-model.ts";
import { powerPromises } from "../../src/drill/scripts/power-cut-verdict.ts";
import { seededRandom } from "../../src/lib/random.ts";

const rootInode = 1;
const oldInode = 2;
const newInode = 3;

const write = (inode: number, text: string, offset = 0): Change => ({
  type: "write",
  inode,
  offset,
  bytes: Buffer.from(text),
  durable: false,
});
const create: Change = {
  type: "create",
  inode: newInode,
  parent: rootInode,
  mode: 0o600,
  name: "a.new",
};
const rename: Change = { type: "rename", parent: rootInode, from: "a.new", to: "a" };
const sync = (inode: number): Change => ({ type: "sync", inode });

/** A disk with one durable file `a`, after these changes. */
function diskAfter(changes: readonly Change[]) {
  const old = fileNode(0o600, Buffer.from("old"));
  const root = directoryNode(0o700, new Map([["a", old]]));
  const disk = createDisk({
    root,
    nodeByInode: new Map<number, DiskNode>([
      [rootInode, root],
      [oldInode, old],
    ]),
  });
  for (const change of changes) disk.apply(change);
  return disk;
}

const texts = (tree: Tree) =>
  [...tree]
    .map(([name, found]) => `${name}=${found.kind === "file" ? found.bytes.toString() : "/"}`)
    .sort()
    .join(" ");

/** All that is found over many cuts. */
function outcomes(changes: readonly Change[]): string[] {
  const { root } = diskAfter(changes);
  return [
    ...new Set(
      Array.from({ length: 300 }, (_, seed) => texts(treeAfterCut(root, seededRandom(seed)))),
    ),
  ].sort();
}

test("a file replaced in full order is old or new, and after the folder's fsync new", () => {
  const atomic = [create, write(newInode, "new"), sync(newInode), rename];
  assert.deepEqual(outcomes(atomic), ["a.new=new a=old", "a=new", "a=old"]);
  assert.deepEqual(outcomes([...atomic, sync(rootInode)]), ["a=new"]);
  assert.equal(texts(presentTree(diskAfter(atomic).root)), "a=new");
});

test("a file replaced without its own fsync may be empty, torn or zeros", () => {
  const found = outcomes([create, write(newInode, "new"), rename, sync(rootInode)]);
  for (const outcome of ["a=", "a=n", "a=new", "a=\0\0\0"])
    assert.ok(found.includes(outcome), `${JSON.stringify(outcome)} in ${JSON.stringify(found)}`);
});

test("blocks of unsynced writes survive each for itself, synced ones always", () => {
  const block = "x".repeat(512);
  const found = outcomes([
    write(oldInode, block.repeat(3)),
    sync(oldInode),
    write(oldInode, "y".repeat(512)),
    write(oldInode, "z".repeat(512), 1024),
  ]).map((text) => [2, 514, 1026].map((at) => text[at]).join(""));
  assert.ok(
    ["xxx", "yxx", "xxz", "yxz"].every((one) => found.includes(one)),
    found.join(),
  );
  assert.ok(found.every((one) => one[1] === "x"));
});

test("an inode that is used again is another file; what the model does not know is remembered", () => {
  const disk = diskAfter([
    create,
    write(newInode, "first"),
    sync(newInode),
    rename,
    { type: "unlink", parent: rootInode, name: "a" },
    { ...create, name: "b" },
    sync(rootInode),
    { type: "unmodelled", text: "teleport on b is not modelled" },
  ]);
  assert.equal(texts(presentTree(disk.root)), "b=");
  assert.deepEqual(disk.unmodelled, ["teleport on b is not modelled"]);
});

test("the drill's promises break on one complaint, one machine that stays dark, or too little looked for", () => {
  const seen = {
    rooms: { cuts: 200, acknowledged: 50_000, complaints: [] },
    roomCuts: 200,
    desired: { acknowledged: 100, looks: 4, lost: 0 },
    cut: 7,
    started: 7,
  };
  const broken = (change: Partial<typeof seen> | { rooms: object }) =>
    powerPromises({ ...seen, ...change } as typeof seen)
      .filter(({ ok }) => !ok)
      .map(({ id }) => id);
  assert.deepEqual(broken({}), []);
  assert.deepEqual(broken({ started: 6 }), ["P1"]);
  assert.deepEqual(broken({ desired: { ...seen.desired, lost: 1 } }), ["P2"]);
  assert.deepEqual(broken({ desired: { ...seen.desired, acknowledged: 3 } }), ["P3"]);
  assert.deepEqual(broken({ rooms: { ...seen.rooms, complaints: ["ledger: lost"] } }), ["P4"]);
  assert.deepEqual(broken({ rooms: { ...seen.rooms, cuts: 199, acknowledged: 10 } }), ["P5", "P6"]);
});
