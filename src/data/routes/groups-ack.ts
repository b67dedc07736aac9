/**
 * The acknowledgement of a batch. Results that come with it are entries as any: they are answered with
 * the level that they reached (D6), which is what their streams declare, or 202 and less.
 */
import * as z from "zod";
import { formatDurabilityLevel, type DurabilityLevel, type EntryInput } from "../../api/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { HttpReply } from "../../runtime/http/index.ts";
import type { Durability, PromisedLevel, Settled } from "../durability/durability.ts";
import type { AckAnswer } from "../streams/groups/groups.ts";

/** As long as an append waits that does not say. */
const levelMsMax = 10_000;

const resultSchema = z.strictObject({
  stream: z.string(),
  atMs: z.int().optional(),
  key: z.strictObject({ producer: z.string(), epoch: z.int(), sequence: z.int() }).optional(),
  body: z.record(z.string(), z.unknown()),
});
export const ackSchema = z.strictObject({
  delivery: z.string().min(1).max(80),
  results: z.array(resultSchema).optional(),
});

export type ResultLevels = {
  readonly durability: Pick<Durability, "refusal" | "settle">;
  /** What a stream declares. */
  readonly levelOf: (stream: string) => DurabilityLevel;
};

export async function acknowledge(
  { delivery, results = [] }: z.infer<typeof ackSchema>,
  deps: {
    ack(delivery: string, results: readonly EntryInput[]): Promise<AckAnswer>;
    /** Absent: nothing is promised but this node's disk. */
    levels: ResultLevels | undefined;
  },
  reply: HttpReply,
): Promise<HttpReply> {
  const { levels } = deps;
  const promised: PromisedLevel[] = [...new Set(results.map(({ stream }) => stream))].map(
    (stream) => ({ stream, level: levels?.levelOf(stream) ?? { level: "local" } }),
  );
  const refused = levels?.durability.refusal(promised);
  if (refused) throw new SkerryError(refused);
  const answer = goodNews(await deps.ack(delivery, results.map(toEntry)));
  if (results.length === 0) return reply.send({ state: answer.state });
  const stored = answer.state === "acknowledged" ? answer.results : undefined;
  const local: DurabilityLevel = { level: "local" };
  const settled: Settled = levels
    ? await levels.durability.settle(promised, { cover: stored?.cover, timeoutMs: levelMsMax })
    : { reached: local };
  const { asked } = settled;
  // Of a result that retention removed nobody is seen to have anything, as of an append.
  const reached = stored?.removed ? local : settled.reached;
  return reply.code(asked ? 202 : 200).send({
    ...{ state: answer.state, reached: formatDurabilityLevel(reached) },
    ...(asked ? { asked: formatDurabilityLevel(asked) } : {}),
    ...(stored ? { stored: stored.stored, duplicates: stored.duplicates } : {}),
    ...(stored?.removed ? { removed: stored.removed.length } : {}),
  });
}

/** What of an acknowledgement is good news; the rest is an error with its own status. */
function goodNews(
  answer: AckAnswer,
): AckAnswer & { readonly state: "acknowledged" | "done-before" } {
  switch (answer.state) {
    case "acknowledged":
    case "done-before":
      return answer;
    case "fenced":
      throw new SkerryError({
        code: "fenced",
        message: "delivery: the group is another node's by now; nothing was changed",
        hint: "drop what was made of it: what was not acknowledged is delivered there again",
      });
    case "overtaken":
      throw new SkerryError({
        code: "delivery-overtaken",
        message: "delivery: part of it was acknowledged by another member; nothing was changed",
        hint: "drop what was made of it: the rest is delivered again",
      });
    case "unknown":
      throw new SkerryError({
        code: "delivery-unknown",
        message: "delivery: the group knows none of this name; nothing was changed",
        hint: "the group was moved or made anew since it was taken; take again",
      });
    case "refused":
      throw new SkerryError(answer);
  }
}

function toEntry({ stream, atMs, key, body }: z.infer<typeof resultSchema>): EntryInput {
  return {
    stream,
    ...(atMs === undefined ? {} : { atMs }),
    ...(key === undefined ? {} : { key }),
    body: Buffer.from(JSON.stringify(body)),
  };
}
