/**
 * Kubernetes' protobuf envelope (k8s.io/apimachinery, runtime/serializer/protobuf): a magic number,
 * then a `runtime.Unknown` with the type and the encoded object. kubectl from 1.32 on sends some of
 * its creates this way, with no fallback.
 */
import { badRequest } from "../status.ts";
import { decodeMessage, isKnownMessage } from "./decode.ts";
import { readFields, readText, type WireField } from "./wire.ts";

const magic = Buffer.from([0x6b, 0x38, 0x73, 0x00]);
const notOurs = "the body is not in Kubernetes' protobuf envelope";

/** The object with its apiVersion and kind. Throws StatusError 400. */
export function decodeEnvelope(bytes: Buffer): Record<string, unknown> {
  if (!bytes.subarray(0, magic.length).equals(magic)) throw badRequest(notOurs);
  const fields = readFields(bytes.subarray(magic.length), "the envelope");
  const typeMeta = readFields(bytesAt(fields, 1), "the envelope's type");
  const apiVersion = readText(bytesAt(typeMeta, 1), "apiVersion");
  const kind = readText(bytesAt(typeMeta, 2), "kind");
  if (!isKnownMessage(kind)) {
    throw badRequest(`protobuf of ${apiVersion} ${kind} is not read here; send JSON`);
  }
  return { apiVersion, kind, ...decodeMessage(kind, bytesAt(fields, 2)) };
}

function bytesAt(fields: readonly WireField[], number: number): Uint8Array {
  const value = fields.find((field) => field.number === number)?.value ?? new Uint8Array();
  if (typeof value === "bigint") throw badRequest(notOurs);
  return value;
}
