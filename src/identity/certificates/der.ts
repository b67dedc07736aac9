/**
 * As much of DER (ITU-T X.690) as certificates need: a strict reader that throws RangeError on
 * anything torn, and a writer for the extensions that the certificate library does not offer.
 */

export type DerElement = {
  readonly tag: number;
  readonly content: Uint8Array;
  /** Tag, length and content. */
  readonly whole: Uint8Array;
};

export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectIdentifier: 0x06,
  sequence: 0x30,
} as const;

/** The element that fills `bytes` exactly. */
export function readDer(bytes: Uint8Array): DerElement {
  const element = readAt(bytes, 0);
  if (element.whole.length !== bytes.length) throw new RangeError("bytes after the DER element");
  return element;
}

/** The elements inside a constructed one. */
export function readChildren(content: Uint8Array): DerElement[] {
  const children: DerElement[] = [];
  for (let offset = 0; offset < content.length;) {
    const child = readAt(content, offset);
    children.push(child);
    offset += child.whole.length;
  }
  return children;
}

function readAt(bytes: Uint8Array, start: number): DerElement {
  const tag = bytes[start];
  const first = bytes[start + 1];
  if (tag === undefined || first === undefined) throw new RangeError("DER ends too early");
  if ((tag & 0x1f) === 0x1f) throw new RangeError("DER tags above 30 are not expected here");
  let length = first;
  let offset = start + 2;
  if (first >= 0x80) {
    const lengthBytes = first - 0x80;
    if (lengthBytes === 0 || lengthBytes > 3) throw new RangeError("DER length is out of bounds");
    length = 0;
    for (let i = 0; i < lengthBytes; i++) length = length * 256 + (bytes[offset++] ?? 0);
  }
  if (offset + length > bytes.length) throw new RangeError("DER ends too early");
  return {
    tag,
    content: bytes.subarray(offset, offset + length),
    whole: bytes.subarray(start, offset + length),
  };
}

/** Dotted form of an object identifier's content. */
export function readObjectIdentifier(content: Uint8Array): string {
  const arcs: number[] = [];
  let value = 0;
  for (const byte of content) {
    value = value * 128 + (byte & 0x7f);
    if (byte & 0x80) continue;
    if (arcs.length === 0) {
      const root = Math.min(2, Math.floor(value / 40));
      arcs.push(root, value - root * 40);
    } else arcs.push(value);
    value = 0;
  }
  return arcs.join(".");
}

/** A small non-negative integer; anything else throws. */
export function readSmallInteger(content: Uint8Array): number {
  if (content.length === 0 || content.length > 4 || (content[0] ?? 0) & 0x80)
    throw new RangeError("DER integer is out of bounds");
  return content.reduce((value, byte) => value * 256 + byte, 0);
}

export function writeDer(tag: number, ...contents: Uint8Array[]): Uint8Array {
  const length = contents.reduce((sum, content) => sum + content.length, 0);
  const head =
    length < 0x80
      ? [tag, length]
      : length < 0x100
        ? [tag, 0x81, length]
        : [tag, 0x82, length >> 8, length & 0xff];
  if (length > 0xffff) throw new RangeError("DER element is too long");
  const bytes = new Uint8Array(head.length + length);
  bytes.set(head);
  let offset = head.length;
  for (const content of contents) {
    bytes.set(content, offset);
    offset += content.length;
  }
  return bytes;
}
