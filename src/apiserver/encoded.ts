/**
 * JSON of objects as bytes. What nobody can change any more (frozen: the resources hand the same
 * object to all who list and watch) is written out once, for as long as the object lives.
 */
import type { KubeObject } from "../api/index.ts";

export interface ObjectEncoder {
  object(value: KubeObject): Buffer;
  /** `{…head, "items": […]}` */
  list(head: Readonly<Record<string, unknown>>, items: readonly KubeObject[]): Buffer;
  /** One line of a watch. */
  frame(type: string, value: KubeObject): Buffer;
}

const comma = Buffer.from(",");
const listEnd = Buffer.from("]}");
const frameEnd = Buffer.from("}\n");

export function createObjectEncoder(): ObjectEncoder {
  const bytesByObject = new WeakMap<KubeObject, Buffer>();
  const object = (value: KubeObject): Buffer => {
    const known = bytesByObject.get(value);
    if (known) return known;
    const text = JSON.stringify(value);
    if (!Object.isFrozen(value)) return Buffer.from(text);
    // Memory of its own: a piece of Node's pool would keep 64 KiB alive for as long as the object lives.
    const bytes = Buffer.allocUnsafeSlow(Buffer.byteLength(text));
    bytes.write(text);
    bytesByObject.set(value, bytes);
    return bytes;
  };
  return {
    object,
    list(head, items) {
      const start = JSON.stringify({ ...head, items: [] }).slice(0, -listEnd.length);
      const parts = items.flatMap((item, index) =>
        index === 0 ? [object(item)] : [comma, object(item)],
      );
      return Buffer.concat([Buffer.from(start), ...parts, listEnd]);
    },
    frame: (type, value) =>
      Buffer.concat([Buffer.from(`{"type":"${type}","object":`), object(value), frameEnd]),
  };
}
