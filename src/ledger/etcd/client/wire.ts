/**
 * Protocol Buffers messages (proto3) from tables of their fields. Numbers that count something are
 * numbers and must be safe integers; ids are 64 bits wide and therefore bigints. A value that is
 * absent is its type's default, as proto3 has it; unknown fields are skipped.
 */
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { cut, id64, integer, lengthOf, skip, type Cursor } from "./varint.ts";

type Scalars = {
  bytes: Uint8Array;
  string: string;
  bool: boolean;
  /** int64 of revisions, counts and sizes. */
  count: number;
  uint32: number;
  /** int64, positive: ids of leases. */
  leaseId: bigint;
  /** uint64: ids of members and clusters. */
  id: bigint;
};
type Scalar = keyof Scalars;

type Read = (at: Cursor) => unknown;
type Write = (writer: BinaryWriter, item: unknown) => void;

type Field = {
  readonly number: number;
  readonly type: Scalar | Message<Fields>;
  readonly repeated: boolean;
};
export type Fields = Readonly<Record<string, Field>>;

type Given<F extends Field> =
  F["type"] extends Message<infer Nested>
    ? Input<Nested> | Encoded
    : F["type"] extends Scalar
      ? Scalars[F["type"]]
      : never;
type Taken<F extends Field> =
  F["type"] extends Message<infer Nested>
    ? Output<Nested>
    : F["type"] extends Scalar
      ? Scalars[F["type"]]
      : never;

/** What may be encoded: every field may be absent. */
export type Input<F extends Fields> = {
  readonly [Name in keyof F]?: F[Name]["repeated"] extends true
    ? readonly Given<F[Name]>[]
    : Given<F[Name]>;
};
/** What was decoded: only a message that was not sent is undefined. */
export type Output<F extends Fields> = {
  readonly [Name in keyof F]: F[Name]["repeated"] extends true
    ? readonly Taken<F[Name]>[]
    : F[Name]["type"] extends Scalar
      ? Taken<F[Name]>
      : Taken<F[Name]> | undefined;
};
export type InputOf<M> = M extends Message<infer F> ? Input<F> : never;
export type OutputOf<M> = M extends Message<infer F> ? Output<F> : never;

/** A message that was encoded before; stands wherever its plain form may. */
export class Encoded {
  readonly bytes: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

export interface Message<F extends Fields> {
  readonly fields: F;
  encode(value: Input<F>): Uint8Array;
  /** As `encode`, into the message that it is part of: a writer of its own would cost a buffer. */
  write(writer: BinaryWriter, value: Input<F>): void;
  /** Bytes in what is returned are views of `bytes`. Throws RangeError when they are no such message. */
  decode(bytes: Uint8Array): Output<F>;
  /** As `decode`, up to `end`: a message inside another one needs no reader of its own. */
  read(at: Cursor, end: number): Output<F>;
}

export const field = <T extends Scalar | Message<Fields>>(number: number, type: T) =>
  ({ number, type, repeated: false }) as const;
export const repeated = <T extends Scalar | Message<Fields>>(number: number, type: T) =>
  ({ number, type, repeated: true }) as const;

export function message<F extends Fields>(fields: F): Message<F> {
  const entries = Object.entries(fields).map(([name, { number, type, repeated: many }]) => ({
    name,
    number,
    many,
    isPacked: many && isVarint(type),
    read: readerOf(type),
    write: writerOf(number, type),
    initial: many ? [] : typeof type === "string" ? absent[type] : undefined,
  }));
  const byNumber = new Map(entries.map((entry) => [entry.number, entry]));
  const initial = Object.fromEntries(entries.map(({ name, initial: value }) => [name, value]));
  const lists = entries.filter(({ many }) => many).map(({ name }) => name);

  const readAt = (at: Cursor, end: number): Output<F> => {
    const value: Record<string, unknown> = { ...initial };
    for (const name of lists) value[name] = [];
    while (at.pos < end) {
      const tag = integer(at);
      const entry = byNumber.get(Math.floor(tag / 8));
      const wireType = tag % 8;
      if (!entry) {
        skip(at, wireType);
      } else if (!entry.many) {
        value[entry.name] = entry.read(at);
      } else if (entry.isPacked && wireType === WireType.LengthDelimited) {
        const length = lengthOf(at);
        for (const packedEnd = at.pos + length; at.pos < packedEnd;)
          (value[entry.name] as unknown[]).push(entry.read(at));
      } else {
        (value[entry.name] as unknown[]).push(entry.read(at));
      }
    }
    if (at.pos > end) throw cut();
    return value as Output<F>;
  };

  const writeInto = (writer: BinaryWriter, value: Input<F>): void => {
    for (const { name, many, write } of entries) {
      const given = (value as Record<string, unknown>)[name];
      if (given === undefined) continue;
      if (many) for (const item of given as readonly unknown[]) write(writer, item);
      else write(writer, given);
    }
  };

  return {
    fields,
    encode: (value) => written((writer) => writeInto(writer, value)),
    write: writeInto,
    decode: (bytes) => readAt({ bytes, pos: 0 }, bytes.length),
    read: readAt,
  };
}

/** A buffer larger than this is not kept for the next message. */
const keptBytesMax = 64 * 1024;
let kept: BinaryWriter | undefined;

/** By a writer that was used before: its buffer has grown to what messages take. */
function written(write: (writer: BinaryWriter) => void): Uint8Array {
  const writer = kept ?? new BinaryWriter();
  // Left behind by what throws halfway.
  kept = undefined;
  write(writer);
  const bytes = writer.finish();
  if (bytes.length <= keptBytesMax) kept = writer;
  return bytes;
}

const absent: { readonly [Type in Scalar]: Scalars[Type] } = {
  bytes: new Uint8Array(),
  string: "",
  bool: false,
  count: 0,
  uint32: 0,
  leaseId: 0n,
  id: 0n,
};

const isVarint = (type: Field["type"]) =>
  typeof type === "string" && type !== "bytes" && type !== "string";

const text = new TextDecoder();

function bytesAt(at: Cursor): Uint8Array {
  const length = lengthOf(at);
  return at.bytes.subarray(at.pos, (at.pos += length));
}

function readerOf(type: Field["type"]): Read {
  switch (type) {
    case "bytes":
      return bytesAt;
    case "string":
      return (at) => text.decode(bytesAt(at));
    case "bool":
      return (at) => integer(at) !== 0;
    case "uint32":
    case "count":
      return integer;
    case "leaseId":
      return (at) => BigInt.asIntN(64, id64(at));
    case "id":
      return id64;
    default:
      return (at) => {
        const length = lengthOf(at);
        return type.read(at, at.pos + length);
      };
  }
}

/** Members of a oneof are written even when they are their type's default: they say which it is. */
function writerOf(number: number, type: Field["type"]): Write {
  const isLong = typeof type !== "string" || type === "bytes" || type === "string";
  const tag = ((number << 3) | (isLong ? WireType.LengthDelimited : WireType.Varint)) >>> 0;
  switch (type) {
    case "bytes":
      return (writer, item) => void writer.uint32(tag).bytes(item as Uint8Array);
    case "string":
      return (writer, item) => void writer.uint32(tag).string(item as string);
    case "bool":
      return (writer, item) => void writer.uint32(tag).bool(item as boolean);
    case "uint32":
      return (writer, item) => void writer.uint32(tag).uint32(item as number);
    case "count":
    case "leaseId":
      return (writer, item) => void writer.uint32(tag).int64(item as number | bigint);
    case "id":
      return (writer, item) => void writer.uint32(tag).uint64(item as bigint);
    default:
      return (writer, item) => {
        writer.uint32(tag);
        if (item instanceof Encoded) {
          writer.bytes(item.bytes);
          return;
        }
        writer.fork();
        type.write(writer, item as Input<Fields>);
        writer.join();
      };
  }
}
