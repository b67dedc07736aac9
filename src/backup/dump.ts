/**
 * The ledger of one revision as text: a JSON line a key, in the order of the keys. The same for every
 * engine, so that a backup of three servers is restored on one, and a later version reads it without
 * the engine's help. Values stand as text where they are text, else as base64.
 */
import { createHash } from "node:crypto";
import { damaged } from "./age/header.ts";
import type { LedgerRecord } from "./record.ts";

type Line = {
  readonly key: string;
  readonly text?: string;
  readonly base64?: string;
  readonly created: number;
  readonly revision: number;
  readonly version: number;
  readonly lease?: string;
};

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function encodeRecord(record: LedgerRecord): string {
  const { key, value, createRevision, modRevision, version, lease } = record;
  const line: Line = {
    key,
    ...valueOf(value),
    created: createRevision,
    revision: modRevision,
    version,
    ...(lease === undefined ? {} : { lease }),
  };
  return `${JSON.stringify(line)}\n`;
}

function valueOf(value: Uint8Array): { text: string } | { base64: string } {
  try {
    return { text: utf8.decode(value) };
  } catch {
    return { base64: Buffer.from(value).toString("base64") };
  }
}

/** Records in groups, as pieces of the file bring them. Throws `backup-damaged`. */
export async function* decodeRecords(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<readonly LedgerRecord[]> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const piece of source) {
    const bytes = Buffer.concat([rest, piece]);
    const end = bytes.lastIndexOf(10);
    rest = bytes.subarray(end + 1);
    if (end > 0) yield bytes.toString("utf8", 0, end).split("\n").map(decodeLine);
  }
  if (rest.length > 0) throw damaged("its last line is cut off");
}

function decodeLine(text: string): LedgerRecord {
  const line = parse(text);
  const value =
    line.text === undefined
      ? Buffer.from(line.base64 ?? "", "base64")
      : new TextEncoder().encode(line.text);
  return {
    key: line.key,
    value: new Uint8Array(value),
    createRevision: line.created,
    modRevision: line.revision,
    version: line.version,
    ...(line.lease === undefined ? {} : { lease: line.lease }),
  };
}

function parse(text: string): Line {
  try {
    const line = JSON.parse(text) as Line;
    const isWhole =
      typeof line.key === "string" &&
      (typeof line.text === "string" || typeof line.base64 === "string") &&
      [line.created, line.revision, line.version].every(Number.isSafeInteger);
    if (isWhole) return line;
  } catch {
    // Told below: the line as a whole is wrong.
  }
  throw damaged("a line of it is no key of a ledger");
}

/** What a dump holds, for people and for comparison. */
export type Content = {
  readonly keys: number;
  /** Of all values. */
  readonly bytes: number;
  /** Of every key, its revisions and its value, in order; hex. */
  readonly sha256: string;
  /** Objects by `plural.group`; other keys by their first part. */
  readonly countByKind: Readonly<Record<string, number>>;
};

export function createTally(): { add(record: LedgerRecord): void; content(): Content } {
  const hash = createHash("sha256");
  const countByKind: Record<string, number> = {};
  let keys = 0;
  let bytes = 0;
  return {
    add(record) {
      const { key, value, createRevision, modRevision, version } = record;
      hash.update(`${key}\0${createRevision}\0${modRevision}\0${version}\0${value.byteLength}\0`);
      hash.update(value);
      const kind = kindOf(key);
      countByKind[kind] = (countByKind[kind] ?? 0) + 1;
      keys++;
      bytes += value.byteLength;
    },
    content: () => ({ keys, bytes, sha256: hash.copy().digest("hex"), countByKind }),
  };
}

/** `/registry/apps/deployments/default/web` is of `deployments.apps`. */
function kindOf(key: string): string {
  const [first = "", root, group, plural] = key.split("/");
  if (first !== "" || root !== "registry") return first === "" ? (root ?? "") : first;
  return group === "core" ? (plural ?? "") : `${plural}.${group}`;
}
