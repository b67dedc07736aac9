/**
 * Reads the file of bbolt that an etcd snapshot is, far enough to say up to which revision it goes.
 * File format: https://github.com/etcd-io/bbolt (page.go, node.go, bucket.go); little endian, two
 * meta pages, B+ trees of pages, one per bucket. etcd keeps every version of every key in the bucket
 * `key`, below its revision (8 bytes, big endian, and more), so the last one is the newest.
 */
import type { FileHandle } from "node:fs/promises";
import { SkerryError } from "../../lib/errors.ts";

const magic = 0xed0cdaed;
const pageHeaderBytes = 16;
const elementBytes = 16;
const bucketHeaderBytes = 16;
const branchPage = 0x01;
const leafPage = 0x02;
const bucketElement = 0x01;
/** Deeper than any tree of this kind gets. */
const depthMax = 64;

type Page = { readonly flags: number; readonly count: number; readonly bytes: Buffer };
type Element = { readonly flags: number; readonly key: Buffer; readonly value: Buffer };

/** Throws `snapshot-damaged` when the file is no etcd database. */
export async function lastRevision(file: FileHandle, path: string): Promise<number> {
  const damaged = (what: string) =>
    new SkerryError({
      code: "snapshot-damaged",
      message: `${path} is no snapshot of a ledger: ${what}`,
      hint: "take another one",
    });

  const readAt = async (position: number, length: number): Promise<Buffer> => {
    const bytes = Buffer.alloc(length);
    const { bytesRead } = await file.read(bytes, 0, length, position);
    if (bytesRead < length) throw damaged(`it ends at ${position + bytesRead}`);
    return bytes;
  };

  const meta = async (position: number) => {
    const bytes = await readAt(position + pageHeaderBytes, 64);
    return bytes.readUInt32LE(0) === magic
      ? {
          pageBytes: bytes.readUInt32LE(8),
          rootPage: Number(bytes.readBigUInt64LE(16)),
          transaction: Number(bytes.readBigUInt64LE(48)),
        }
      : undefined;
  };

  const page = async (id: number, pageBytes: number): Promise<Page> => {
    const head = await readAt(id * pageBytes, pageHeaderBytes);
    const overflow = head.readUInt32LE(12);
    const bytes = await readAt(id * pageBytes, pageBytes * (1 + overflow));
    return { flags: head.readUInt16LE(8), count: head.readUInt16LE(10), bytes };
  };

  const elements = async (tree: Page, pageBytes: number): Promise<Element[]> => {
    if (tree.flags & leafPage)
      return Array.from({ length: tree.count }, (_, index) => leafAt(tree, index));
    const below: Element[] = [];
    for (let index = 0; index < tree.count; index++)
      below.push(...(await elements(await page(branchAt(tree, index), pageBytes), pageBytes)));
    return below;
  };

  const last = async (tree: Page, pageBytes: number): Promise<Element | undefined> => {
    let current = tree;
    for (let depth = 0; depth < depthMax && current.count > 0; depth++) {
      if (current.flags & leafPage) return leafAt(current, current.count - 1);
      if (!(current.flags & branchPage)) throw damaged("a page of its tree is of another kind");
      current = await page(branchAt(current, current.count - 1), pageBytes);
    }
    return undefined;
  };

  const first = await meta(0);
  if (!first) throw damaged("it does not begin like one");
  const second = await meta(first.pageBytes);
  const newest = second && second.transaction > first.transaction ? second : first;
  const { pageBytes } = newest;
  const buckets = await elements(await page(newest.rootPage, pageBytes), pageBytes);

  const bucket = async (name: string): Promise<Page> => {
    const found = buckets.find(
      ({ flags, key }) => flags & bucketElement && key.toString("latin1") === name,
    );
    if (!found) throw damaged(`it has no bucket "${name}"`);
    const rootPage = Number(found.value.readBigUInt64LE(0));
    if (rootPage !== 0) return await page(rootPage, pageBytes);
    // A small bucket stands in its element, behind its header.
    const bytes = found.value.subarray(bucketHeaderBytes);
    return { flags: bytes.readUInt16LE(8), count: bytes.readUInt16LE(10), bytes };
  };

  const newestKey = await last(await bucket("key"), pageBytes);
  // A compaction may have taken the newest revision itself away, if it was a deletion.
  const marks = (await elements(await bucket("meta"), pageBytes)).filter(({ key }) =>
    key.toString("latin1").endsWith("CompactRev"),
  );
  const revisions = [newestKey?.key, ...marks.map(({ value }) => value)]
    .filter((bytes) => bytes !== undefined && bytes.length >= 8)
    .map((bytes) => Number(bytes?.readBigUInt64BE(0)));
  if (revisions.length === 0) throw damaged("it has no revisions");
  return Math.max(...revisions);
}

function leafAt({ bytes }: Page, index: number): Element {
  const at = pageHeaderBytes + index * elementBytes;
  const flags = bytes.readUInt32LE(at);
  const start = at + bytes.readUInt32LE(at + 4);
  const keyEnd = start + bytes.readUInt32LE(at + 8);
  return {
    flags,
    key: bytes.subarray(start, keyEnd),
    value: bytes.subarray(keyEnd, keyEnd + bytes.readUInt32LE(at + 12)),
  };
}

/** The page below. */
function branchAt({ bytes }: Page, index: number): number {
  return Number(bytes.readBigUInt64LE(pageHeaderBytes + index * elementBytes + 8));
}
