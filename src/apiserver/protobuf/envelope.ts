/** placeholder */
import { failure } from "../status.ts";
export function decodeEnvelope(_bytes: Uint8Array): unknown {
  throw failure("UnsupportedMediaType", "protobuf");
}
