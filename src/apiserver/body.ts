/** Request bodies: bounded in bytes and depth, JSON, YAML or Kubernetes' protobuf envelope. */
import type { IncomingMessage } from "node:http";
import { yaml } from "../runtime/yaml/index.ts";
import { decodeEnvelope } from "./protobuf/envelope.ts";
import { badRequest, failure } from "./status.ts";

/** The limit of Kubernetes' API server. */
const bodyBytesMax = 3 * 1024 * 1024;
/** What only the YAML parser can read: it needs a second for 100 KiB made for it, on the main thread. */
const yamlBytesMax = 32 * 1024;
/** Of all bodies that are being received. */
const bodiesBytesMax = 48 * 1024 * 1024;
/** The deepest schema here has a dozen levels; walkers over bodies recurse. */
const depthMax = 64;

export type Body = { readonly contentType: string; readonly value: unknown };

/** Throws StatusError: 400 for what cannot be read, 413 above 3 MiB, 415 for another media type. */
export async function readBody(request: IncomingMessage): Promise<Body | undefined> {
  const encoding = request.headers["content-encoding"] ?? "identity";
  if (encoding.trim().toLowerCase() !== "identity")
    throw failure("UnsupportedMediaType", "the request body is compressed; send it as it is");
  const bytes = await collect(request);
  if (bytes.length === 0) return undefined;
  const contentType = mediaTypeOf(request);
  const value = decode(contentType, bytes);
  assertShape(value);
  return { contentType, value };
}

/** Media type without parameters; JSON where the client says nothing. */
export function mediaTypeOf(request: IncomingMessage): string {
  const [type = ""] = (request.headers["content-type"] ?? "").split(";");
  return type.trim().toLowerCase() || "application/json";
}

/** Bytes of bodies that are being received now, by all requests of this process. */
let receivingBytes = 0;

async function collect(request: IncomingMessage): Promise<Buffer> {
  const tooLarge = () =>
    failure("RequestEntityTooLarge", `the request body is larger than ${bodyBytesMax} bytes`);
  if (Number(request.headers["content-length"] ?? 0) > bodyBytesMax) throw tooLarge();
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    // Leaving the loop destroys the stream, and with it the socket that the answer has to go out on.
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      const { length } = chunk as Buffer;
      chunks.push(chunk as Buffer);
      bytes += length;
      receivingBytes += length;
      if (bytes > bodyBytesMax) throw tooLarge();
      if (receivingBytes > bodiesBytesMax)
        throw failure("ServiceUnavailable", "too many large requests at a time; send it again");
    }
  } finally {
    receivingBytes -= bytes;
  }
  return Buffer.concat(chunks, bytes);
}

function decode(contentType: string, bytes: Buffer): unknown {
  switch (contentType) {
    case "application/vnd.kubernetes.protobuf":
      return decodeEnvelope(bytes);
    case "application/yaml":
    case "application/x-yaml":
    case "text/yaml":
    case "application/apply-patch+yaml":
      return decodeYaml(bytes.toString());
    case "application/json":
    case "application/json-patch+json":
    case "application/merge-patch+json":
    case "application/strategic-merge-patch+json":
      return decodeJson(bytes.toString());
    default:
      throw failure(
        "UnsupportedMediaType",
        `the body's media type "${contentType}" is not supported; send application/json, application/yaml or application/vnd.kubernetes.protobuf`,
      );
  }
}

function decodeJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw badRequest(`the request body is not valid JSON: ${messageOf(error)}`);
  }
}

function decodeYaml(text: string): unknown {
  const json = asJson(text);
  if (json) return json.value;
  if (text.length > yamlBytesMax) {
    throw failure(
      "RequestEntityTooLarge",
      `the request body is YAML of more than ${yamlBytesMax} bytes; send it as JSON`,
    );
  }
  try {
    return yaml().parse(text, { maxAliasCount: 32, prettyErrors: true }) as unknown;
  } catch (error) {
    if (
      error instanceof yaml().YAMLError ||
      error instanceof ReferenceError ||
      error instanceof RangeError
    )
      throw badRequest(`the request body is not valid YAML: ${messageOf(error)}`);
    throw error;
  }
}

/** JSON is YAML, and what kubectl sends as such: read by the parser that takes megabytes in its stride. */
function asJson(text: string): { readonly value: unknown } | undefined {
  if (!text.startsWith("{")) return undefined;
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    // YAML in flow style, then.
    return undefined;
  }
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

/** Refuses what recursion or assignment by key would trip over. */
function assertShape(root: unknown): void {
  const stack: { value: unknown; depth: number }[] = [{ value: root, depth: 0 }];
  for (let item = stack.pop(); item; item = stack.pop()) {
    const { value, depth } = item;
    if (typeof value !== "object" || value === null) continue;
    if (depth > depthMax) {
      throw badRequest(`the request body is nested deeper than ${depthMax} levels`);
    }
    if (Object.hasOwn(value, "__proto__")) {
      throw badRequest('unknown field "__proto__"');
    }
    for (const below of Object.values(value)) stack.push({ value: below, depth: depth + 1 });
  }
}
