/** What crosses the links beside batches: small JSON, checked on arrival (`invalid-message`). */
import { z } from "zod";
import { SkerryError } from "../../lib/errors.ts";
import type { Vector } from "../streams/store.ts";

const vectorSchema = z.record(z.string().min(1).max(300), z.int().min(0));
const pullSchema = z.strictObject({
  origin: z.string().min(1).max(300),
  from: z.int().min(1),
  bytesMax: z
    .int()
    .min(1)
    .max(4 * 1024 * 1024),
});
const pushedSchema = z.strictObject({
  state: z.enum(["applied", "gap"]),
  origin: z.string(),
  top: z.int().min(0),
  stored: z.int().min(0),
  vector: vectorSchema.optional(),
});

export type PullRequest = z.infer<typeof pullSchema>;
export type Pushed = z.infer<typeof pushedSchema>;

export const encodeJson = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
export const decodeVector = (bytes: Uint8Array): Vector => decode(vectorSchema, bytes, "a vector");
export const decodePull = (bytes: Uint8Array): PullRequest => decode(pullSchema, bytes, "a pull");
export const decodePushed = (bytes: Uint8Array): Pushed =>
  decode(pushedSchema, bytes, "the answer to a push");

function decode<T>(schema: z.ZodType<T>, bytes: Uint8Array, what: string): T {
  try {
    return schema.parse(
      JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString()),
    );
  } catch (cause) {
    throw new SkerryError({
      code: "invalid-message",
      message: `${what} from the other side cannot be read`,
      hint: "the two run versions that do not know each other; bring both to the same",
      cause,
    });
  }
}

export const covers = (vector: Vector, cover: Vector): boolean =>
  Object.entries(cover).every(([origin, top]) => (vector[origin] ?? 0) >= top);
