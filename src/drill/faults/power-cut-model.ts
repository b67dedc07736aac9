/**
 * What a disk may hold after the power failed. Adversarial, but no worse than POSIX allows:
 *
 * - A file's content counts from its last fsync or fdatasync. Of what was written since, any subset of
 *   blocks (512 or 4096 bytes) may be there; a file may have grown without its data (zeros), and a
 *   truncation may have happened or not.
 * - A directory's entries count from its own last fsync. Of what was created, renamed, linked and
 *   removed in it since, a prefix happened: directories keep their order, each for itself. An fsync of
 *   a file says nothing about its name (ext4 is kinder; POSIX is not).
 * - A rename is whole or did not happen; one between two directories is a name more in the one and a
 *   name less in the other, each as durable as its own directory.
 *
 * Memory-mapped `-shm` files are never durable. Modes are those of creation.
 */
import type { Random } from "../../lib/random.ts";
import type { Change } from "./power-cut-log.ts";

export type DiskFile = {
  readonly kind: "file";
  readonly mode: number;
  readonly content: Image;
  pending: FileChange[];
  mapped: boolean;
  inDoubt: boolean;
};
export type DiskDirectory = {
  readonly kind: "directory";
  readonly mode: number;
  /** As the last fsync left it. */
  readonly durable: Map<string, DiskNode>;
  /** As processes see it. */
  readonly now: Map<string, DiskNode>;
  pending: DirectoryChange[];
  inDoubt: boolean;
};
export type DiskNode = DiskFile | DiskDirectory;

type FileChange = Extract<Change, { type: "write" | "truncate" | "punch" }>;
type DirectoryChange =
  | { readonly put: string; readonly node: DiskNode }
  | { readonly remove: string }
  | { readonly from: string; readonly to: string };

/** A tree of files as it may be found on the disk. */
export type Tree = Map<string, Found>;
export type Found =
  | {
      readonly kind: "file";
      readonly mode: number;
      readonly bytes: Buffer;
      readonly mapped: boolean;
      /** Somebody was killed while changing it: the last change may be missing here. */
      readonly inDoubt: boolean;
    }
  | {
      readonly kind: "directory";
      readonly mode: number;
      readonly entries: Tree;
      readonly inDoubt: boolean;
    };

/** Bytes that can grow; the ones it was made of are copied before they are changed. */
export class Image {
  #bytes: Buffer;
  #isOwn = false;
  size: number;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.size = bytes.length;
  }

  write(offset: number, bytes: Buffer): void {
    this.resize(Math.max(this.size, offset + bytes.length));
    this.#own();
    bytes.copy(this.#bytes, offset);
  }

  /** New bytes are zeros. */
  resize(size: number): void {
    if (size > this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(size, this.#bytes.length * 2));
      this.#bytes.copy(grown, 0, 0, this.size);
      this.#bytes = grown;
      this.#isOwn = true;
    } else if (size > this.size) {
      this.#own();
      this.#bytes.fill(0, this.size, size);
    }
    this.size = size;
  }

  #own(): void {
    if (this.#isOwn) return;
    this.#bytes = Buffer.from(this.#bytes);
    this.#isOwn = true;
  }

  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.size);
  }

  /** Neither sees what becomes of the other. */
  copy(): Image {
    this.#isOwn = false;
    return new Image(this.bytes);
  }
}

export function fileNode(mode: number, content: Buffer): DiskFile {
  return {
    kind: "file",
    mode,
    content: new Image(content),
    pending: [],
    mapped: false,
    inDoubt: false,
  };
}

/** All of `entries` is durable. */
export function directoryNode(
  mode: number,
  entries: ReadonlyMap<string, DiskNode> = new Map(),
): DiskDirectory {
  return {
    kind: "directory",
    mode,
    durable: new Map(entries),
    now: new Map(entries),
    pending: [],
    inDoubt: false,
  };
}

/** A disk on which everything is durable; nodes are found by inode. */
export type DiskState = {
  readonly root: DiskDirectory;
  readonly nodeByInode: ReadonlyMap<number, DiskNode>;
};

function copyState(state: DiskState): { root: DiskDirectory; nodeByInode: Map<number, DiskNode> } {
  const copies = new Map<DiskNode, DiskNode>();
  const copy = (node: DiskNode): DiskNode => {
    const made =
      copies.get(node) ??
      (node.kind === "file"
        ? { ...node, content: node.content.copy(), pending: [] }
        : directoryNode(
            node.mode,
            new Map([...node.durable].map(([name, child]) => [name, copy(child)])),
          ));
    copies.set(node, made);
    return made;
  };
  const root = copy(state.root) as DiskDirectory;
  return {
    root,
    nodeByInode: new Map([...state.nodeByInode].map(([inode, node]) => [inode, copy(node)])),
  };
}

/** Plays changes on a copy of `before`; an inode that was used again is the newest file. */
export function createDisk(before: DiskState) {
  const { root, nodeByInode } = copyState(before);
  const unmodelled: string[] = [];
  const fileOf = (inode: number) => {
    const node = nodeByInode.get(inode);
    return node?.kind === "file" ? node : undefined;
  };
  const changeDirectory = (inode: number, change: DirectoryChange) => {
    const directory = nodeByInode.get(inode);
    if (directory?.kind !== "directory") return;
    applyToDirectory(directory.now, change);
    directory.pending.push(change);
  };
  const add = (inode: number, parent: number, name: string, node: DiskNode) => {
    nodeByInode.set(inode, node);
    changeDirectory(parent, { put: name, node });
  };

  return {
    root,
    /** Ways to change a file that the model does not know: a result with one of them proves nothing. */
    unmodelled,
    apply(change: Change): void {
      switch (change.type) {
        case "create":
          return add(
            change.inode,
            change.parent,
            change.name,
            fileNode(change.mode, Buffer.alloc(0)),
          );
        case "make-directory":
          return add(change.inode, change.parent, change.name, directoryNode(change.mode));
        case "link": {
          const node = nodeByInode.get(change.inode);
          if (node) changeDirectory(change.parent, { put: change.name, node });
          return;
        }
        case "unlink":
          return changeDirectory(change.parent, { remove: change.name });
        case "rename":
          return changeDirectory(change.parent, { from: change.from, to: change.to });
        case "write":
        case "truncate":
        case "punch":
          fileOf(change.inode)?.pending.push(change);
          return;
        case "mapped": {
          const file = fileOf(change.inode);
          if (file) file.mapped = true;
          return;
        }
        case "sync": {
          const node = nodeByInode.get(change.inode);
          if (node) sync(node);
          return;
        }
        case "sync-all":
          for (const node of nodeByInode.values()) sync(node);
          return;
        case "in-doubt": {
          const node = nodeByInode.get(change.inode);
          if (node) node.inDoubt = true;
          return;
        }
        case "unmodelled":
          unmodelled.push(change.text);
      }
    },
  };
}

function sync(node: DiskNode): void {
  if (node.kind === "file") for (const change of node.pending) applyToFile(node.content, change);
  else for (const change of node.pending) applyToDirectory(node.durable, change);
  node.pending = [];
}

function applyToDirectory(entries: Map<string, DiskNode>, change: DirectoryChange): void {
  if ("put" in change) entries.set(change.put, change.node);
  else if ("remove" in change) entries.delete(change.remove);
  else {
    const node = entries.get(change.from);
    entries.delete(change.from);
    if (node) entries.set(change.to, node);
  }
}

function applyToFile(image: Image, change: FileChange): void {
  if (change.type === "write") image.write(change.offset, change.bytes);
  else if (change.type === "truncate") image.resize(change.size);
  else {
    const length = Math.min(change.length, image.size - change.offset);
    if (length > 0) image.write(change.offset, Buffer.alloc(length));
  }
}

/** What processes see: all changes happened. */
export function presentTree(directory: DiskDirectory): Tree {
  return treeOf(directory.now, (node) =>
    node.kind === "directory" ? presentTree(node) : presentContent(node).bytes,
  );
}

/** What the disk holds when the power comes back. */
export function treeAfterCut(directory: DiskDirectory, random: Random): Tree {
  const entries = new Map(directory.durable);
  for (const change of directory.pending.slice(0, keptOf(directory.pending.length, random)))
    applyToDirectory(entries, change);
  return treeOf(entries, (node) =>
    node.kind === "directory" ? treeAfterCut(node, random) : contentAfterCut(node, random),
  );
}

function treeOf(
  entries: ReadonlyMap<string, DiskNode>,
  look: (node: DiskNode) => Tree | Buffer,
): Tree {
  return new Map(
    [...entries].map(([name, node]): [string, Found] => {
      const seen = look(node);
      const { mode, inDoubt } = node;
      const mapped = node.kind === "file" && node.mapped;
      return [
        name,
        seen instanceof Map
          ? { kind: "directory", mode, inDoubt, entries: seen }
          : { kind: "file", mode, inDoubt, bytes: seen, mapped },
      ];
    }),
  );
}

function presentContent(file: DiskFile): Image {
  const image = file.content.copy();
  for (const change of file.pending) applyToFile(image, change);
  return image;
}

/** None and all more often than chance would have it: both are what happens most on real machines. */
function keptOf(count: number, random: Random): number {
  const roll = random.float();
  if (roll < 0.3) return 0;
  return roll < 0.5 ? count : random.integer(count + 1);
}

function contentAfterCut(file: DiskFile, random: Random): Buffer {
  if (file.pending.length === 0) return file.content.bytes;
  const image = file.content.copy();
  const roll = random.float();
  if (roll < 0.5) keepPrefix(image, file.pending, random);
  else keepBlocks(image, file.pending, random);
  // The size reached the disk, the data did not.
  const size = presentContent(file).size;
  if (size > image.size && random.float() < 0.3) image.resize(size);
  return image.bytes;
}

function keepPrefix(image: Image, pending: readonly FileChange[], random: Random): void {
  const kept = keptOf(pending.length, random);
  for (const [at, change] of pending.entries()) {
    const isDurable = change.type === "write" && change.durable;
    if (at < kept || isDurable) applyToFile(image, change);
    else if (at === kept && change.type === "write")
      // The one that was under way.
      image.write(change.offset, change.bytes.subarray(0, random.integer(change.bytes.length + 1)));
  }
}

function keepBlocks(image: Image, pending: readonly FileChange[], random: Random): void {
  const blockBytes = random.integer(2) === 0 ? 512 : 4096;
  const share = [0.1, 0.5, 0.9][random.integer(3)] ?? 0.5;
  for (const change of pending) {
    if (change.type !== "write") {
      if (random.float() < share) applyToFile(image, change);
      continue;
    }
    const { offset, bytes } = change;
    for (let from = 0; from < bytes.length;) {
      const end = Math.min(bytes.length, from + blockBytes - ((offset + from) % blockBytes));
      if (change.durable || random.float() < share)
        image.write(offset + from, bytes.subarray(from, end));
      from = end;
    }
  }
}
