/**
 * Protocol Buffers messages (proto3) from tables of their fields. Numbers that count something are
 * numbers and must be safe integers; ids are 64 bits wide and therefore bigints. A value that is
 * absent is its type's default, as proto3 has it; unknown fields are skipped.
 */
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

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
  decode(bytes: Uint8Array): Output<F>;
}

export const field = <T extends Scalar | Message<Fields>>(number: number, type: T) =>
  ({ number, type, repeated: false }) as const;
export const repeated = <T extends Scalar | Message<Fields>>(number: number, type: T) =>
  ({ number, type, repeated: true }) as const;

export function message<F extends Fields>(fields: F): Message<F> {
  const entries = Object.entries(fields);
  const byNumber = new Map(entries.map(([name, spec]) => [spec.number, { name, spec }]));

  const decode = (bytes: Uint8Array): Output<F> => {
    const value: Record<string, unknown> = {};
    for (const [name, { type, repeated: many }] of entries)
      value[name] = many ? [] : typeof type === "string" ? absent[type] : undefined;
    const reader = new BinaryReader(bytes);
    while (reader.pos < reader.len) {
      const [number, wireType] = reader.tag();
      const known = byNumber.get(number);
      if (!known) {
        reader.skip(wireType, number);
        continue;
      }
      const { name, spec } = known;
      if (spec.repeated && wireType === WireType.LengthDelimited && isVarint(spec.type)) {
        const end = reader.uint32() + reader.pos;
        while (reader.pos < end) (value[name] as unknown[]).push(read(reader, spec.type));
      } else if (spec.repeated) {
        (value[name] as unknown[]).push(read(reader, spec.type));
      } else {
        value[name] = read(reader, spec.type);
      }
    }
    return value as Output<F>;
  };

  const writeInto = (writer: BinaryWriter, value: Input<F>): void => {
    for (const [name, { number, type, repeated: many }] of entries) {
      const given = (value as Record<string, unknown>)[name];
      if (given === undefined) continue;
      for (const item of many ? (given as readonly unknown[]) : [given])
        write(writer, { number, type, item });
    }
  };

  const encode = (value: Input<F>): Uint8Array => {
    const writer = new BinaryWriter();
    writeInto(writer, value);
    return writer.finish();
  };

  return { fields, encode, write: writeInto, decode };
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

function read(reader: BinaryReader, type: Field["type"]): unknown {
  switch (type) {
    case "bytes":
      return reader.bytes();
    case "string":
      return reader.string();
    case "bool":
      return reader.bool();
    case "uint32":
      return reader.uint32();
    case "count": {
      const count = Number(reader.int64());
      if (!Number.isSafeInteger(count)) throw new RangeError(`${count} is not a safe integer`);
      return count;
    }
    case "leaseId":
      return BigInt(reader.int64());
    case "id":
      return BigInt(reader.uint64());
    default:
      return type.decode(reader.bytes());
  }
}

/** Members of a oneof are written even when they are their type's default: they say which it is. */
function write(
  writer: BinaryWriter,
  { number, type, item }: { number: number; type: Field["type"]; item: unknown },
): void {
  switch (type) {
    case "bytes":
      writer.tag(number, WireType.LengthDelimited).bytes(item as Uint8Array);
      return;
    case "string":
      writer.tag(number, WireType.LengthDelimited).string(item as string);
      return;
    case "bool":
      writer.tag(number, WireType.Varint).bool(item as boolean);
      return;
    case "uint32":
      writer.tag(number, WireType.Varint).uint32(item as number);
      return;
    case "count":
    case "leaseId":
      writer.tag(number, WireType.Varint).int64(item as number | bigint);
      return;
    case "id":
      writer.tag(number, WireType.Varint).uint64(item as bigint);
      return;
    default: {
      writer.tag(number, WireType.LengthDelimited);
      if (item instanceof Encoded) {
        writer.bytes(item.bytes);
        return;
      }
      writer.fork();
      type.write(writer, item as Input<Fields>);
      writer.join();
    }
  }
}
