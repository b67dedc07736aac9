/** What crosses the links beside batches: small JSON, checked on arrival (`invalid-message`). */
import * as z from "zod";
import { SkerryError } from "../../lib/errors.ts";
import { indexesMax } from "../global/copy-indexes.ts";
import type { FeedStates, FeedWish, FillAnswer, PullQuery } from "../global/documents.ts";
import type { CopyQuery } from "../streams/repairs.ts";
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
const copySchema = z.strictObject({
  origin: z.string().min(1).max(300),
  from: z.int().min(1),
  to: z.int().min(1),
  stream: z.string().min(1).max(300),
  fromMs: z.int().min(0),
  toMs: z.int().min(0),
});
const cursorSchema = z.strictObject({
  changes: z.record(z.string(), z.int().min(0)),
  keys: z.int().min(0),
});
const placeSchema = z.strictObject({ view: z.string().min(1).max(300), cursor: cursorSchema });
const wishSchema = z.strictObject({
  vector: vectorSchema,
  force: z.boolean(),
  after: placeSchema.optional(),
});
const fillSchema = z.discriminatedUnion("state", [
  z.strictObject({ state: z.literal("staged"), at: placeSchema }),
  z.strictObject({ state: z.literal("open"), tops: vectorSchema }),
  z.strictObject({ state: z.enum(["elsewhere", "busy", "superseded"]) }),
]);
const pushedSchema = z.strictObject({
  state: z.enum(["applied", "gap"]),
  origin: z.string(),
  top: z.int().min(0),
  stored: z.int().min(0),
  vector: vectorSchema.optional(),
});

const wishesSchema = z.record(
  z.string().min(1).max(300),
  z.strictObject({ shape: z.string().max(65_536), kinds: z.int().min(0), revision: z.int() }),
);
const indexesSchema = z.record(
  z.string().min(1).max(300),
  z.array(z.string().min(1).max(4096)).max(indexesMax),
);
const wantedSchema = z.strictObject({
  collections: z.array(z.string().min(1).max(300)).max(10_000),
  vector: vectorSchema,
});
const feedStatesSchema = z.record(
  z.string(),
  z.discriminatedUnion("state", [
    z.strictObject({ state: z.literal("open"), tops: vectorSchema }),
    z.strictObject({ state: z.literal("superseded") }),
  ]),
);

export type PullRequest = z.infer<typeof pullSchema>;
export type Pushed = z.infer<typeof pushedSchema>;

export const encodeJson = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
export const decodeVector = (bytes: Uint8Array): Vector => decode(vectorSchema, bytes, "a vector");
export const decodePull = (bytes: Uint8Array): PullRequest => decode(pullSchema, bytes, "a pull");
export const decodeCopyQuery = (bytes: Uint8Array): CopyQuery =>
  decode(copySchema, bytes, "what a node lacks of a segment");
export const decodeSnapshotWish = (bytes: Uint8Array): z.infer<typeof wishSchema> =>
  decode(wishSchema, bytes, "what a node lacks");
export const decodePushed = (bytes: Uint8Array): Pushed =>
  decode(pushedSchema, bytes, "the answer to a push");

export const decodeWishes = (bytes: Uint8Array): Readonly<Record<string, FeedWish>> =>
  decode(wishesSchema, bytes, "what a node sends of its collections");
export const decodeIndexes = (bytes: Uint8Array): Readonly<Record<string, readonly string[]>> =>
  decode(indexesSchema, bytes, "the indexes that a node wants");
export const decodeWanted = (bytes: Uint8Array): Omit<PullQuery, "cell"> =>
  decode(wantedSchema, bytes, "what a node wants of the hub's documents");
export const decodeFeedStates = (bytes: Uint8Array): FeedStates =>
  decode(feedStatesSchema, bytes, "what the hub has of documents");

export const decodeFillAnswer = (bytes: Uint8Array): FillAnswer =>
  decode(fillSchema, bytes, "what the hub made of documents");

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
