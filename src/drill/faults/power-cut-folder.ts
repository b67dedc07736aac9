/** A folder as the power-cut model sees it: read into nodes, written from a tree, compared with one. */
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Random } from "../../lib/random.ts";
import {
  directoryNode,
  fileNode,
  type DiskNode,
  type DiskState,
  type Tree,
} from "./power-cut-model.ts";

/** Sockets, pipes and links are left out: none of them holds anything over a power cut. */
export function readFolder(path: string): DiskState {
  const nodeByInode = new Map<number, DiskNode>();
  const read = (at: string): DiskNode | undefined => {
    const { ino, mode, ...stat } = lstatSync(at);
    const isDirectory = (mode & 0o170000) === 0o040000;
    const isFile = (mode & 0o170000) === 0o100000;
    if (!isDirectory && !isFile) return undefined;
    const node = isFile
      ? fileNode(mode & 0o7777, stat.size === 0 ? Buffer.alloc(0) : readFileSync(at))
      : directoryNode(
          mode & 0o7777,
          new Map(
            readdirSync(at).flatMap((name): [string, DiskNode][] => {
              const child = read(join(at, name));
              return child ? [[name, child]] : [];
            }),
          ),
        );
    nodeByInode.set(ino, node);
    return node;
  };
  const root = read(path);
  if (root?.kind !== "directory") throw new Error(`${path} is not a folder`);
  return { root, nodeByInode };
}

/** Makes `path` hold `tree` and nothing else. What is there already keeps its inode, as on a disk. */
export function writeFolder(
  path: string,
  tree: Tree,
  mapped: (path: string) => Buffer = () => Buffer.alloc(0),
): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const wanted = tree.get(entry.name)?.kind;
    if (wanted !== (entry.isDirectory() ? "directory" : entry.isFile() ? "file" : "other"))
      rmSync(join(path, entry.name), { recursive: true, force: true });
  }
  for (const [name, found] of tree) {
    const here = join(path, name);
    if (found.kind === "directory") writeFolder(here, found.entries, mapped);
    else writeFileSync(here, found.mapped ? mapped(here) : found.bytes);
    chmodSync(here, found.mode);
  }
}

/** What a `-shm` file may be found as: nobody ever syncs it. */
export function mappedContent(present: Buffer | undefined, random: Random): Buffer {
  const length = present?.length ?? 0;
  switch (random.integer(4)) {
    case 0:
      return Buffer.alloc(0);
    case 1:
      return Buffer.alloc(length);
    case 2:
      return Buffer.from(random.bytes(length));
    default:
      return present ?? Buffer.alloc(0);
  }
}

/** Paths, relative to `path`, at which the folder is not as `tree` says; at most a few. */
export function differences(
  path: string,
  { tree, rootInDoubt }: { tree: Tree; rootInDoubt: boolean },
  isForeign: (relative: string) => boolean,
): string[] {
  const found: string[] = [];
  const look = (relative: string, here: Tree, namesInDoubt: boolean) => {
    const there = new Set(
      readdirSync(join(path, relative), { withFileTypes: true })
        .filter((entry) => entry.isFile() || entry.isDirectory())
        .map(({ name }) => name),
    );
    /** A rename that nobody finished saying so may have put one of these in another one's place. */
    const gone = !namesInDoubt
      ? []
      : [...here].flatMap(([name, node]) =>
          node.kind === "file" && !there.has(name) ? [node.bytes] : [],
        );
    for (const [name, node] of here) {
      const at = relative === "" ? name : `${relative}/${name}`;
      if (isForeign(at)) continue;
      if (!there.has(name)) {
        if (!namesInDoubt) found.push(`${at}: in the log, not in the folder`);
      } else if (node.kind === "directory") look(at, node.entries, node.inDoubt);
      else if (!node.mapped && !node.inDoubt) {
        const bytes = readFileSync(join(path, at));
        if (![node.bytes, ...gone].some((logged) => bytes.equals(logged)))
          found.push(`${at}: its content is not what was logged`);
      }
    }
    for (const name of there) {
      const at = relative === "" ? name : `${relative}/${name}`;
      if (!here.has(name) && !namesInDoubt && !isForeign(at))
        found.push(`${at}: in the folder, not in the log`);
    }
  };
  look("", tree, rootInDoubt);
  return found.slice(0, 10);
}
