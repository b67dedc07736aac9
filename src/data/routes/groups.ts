/**
 * Consumer groups over HTTP, below `/v1/streams/:name/groups`. A member takes a batch, works on it,
 * and acknowledges it before its deadline; `take` can wait for something to come.
 */
import * as z from "zod";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { HttpApp, Routes } from "../../runtime/http/index.ts";
import { atMsMax } from "../streams/check.ts";
import type { Delivery, GroupStart } from "../streams/groups/groups.ts";
import type { ConsumerGroups } from "../streams/groups/groups.ts";
import type { StreamStore } from "../streams/store.ts";
import { ackSchema, acknowledge, type ResultLevels } from "./groups-ack.ts";
import { descriptions } from "./groups-openapi.ts";
import { entryJson } from "./lines.ts";
import { whenClosed } from "./when-closed.ts";

const waitMsMax = 30_000;
/** While it waits: how soon the deadline of another member's batch is noticed. */
const lookAgainMs = 500;
/** Each may wait for 30 s; more than this is a client that forgot how many it started. */
const waitersMax = 256;
const bodyBytesMax = 16 * 1024 * 1024;

const startSchema = z
  .union([
    z.strictObject({ from: z.enum(["oldest", "newest"]) }),
    z.strictObject({ from: z.iso.datetime({ offset: true }) }),
    z.strictObject({ fromMs: z.int().min(0).max(atMsMax) }),
    z.strictObject({ after: z.string().min(1).max(60) }),
  ])
  .transform((start): GroupStart => {
    if (!("from" in start)) return start;
    return start.from === "oldest" || start.from === "newest"
      ? { from: start.from }
      : { fromMs: Math.max(0, Date.parse(start.from)) };
  });
const takeSchema = z.strictObject({
  member: z.string().max(128).optional(),
  limit: z.int().optional(),
  ackMs: z.int().optional(),
  waitMs: z.int().min(0).max(waitMsMax).optional(),
});
const delivery = z.string().min(1).max(80);
const extendSchema = z.strictObject({ delivery, ackMs: z.int() });
const releaseSchema = z.strictObject({ delivery });

type Call = { Params: { name: string; group: string }; Body: unknown };

type Grouped = Pick<StreamStore, "on"> & { readonly groups: ConsumerGroups<object> };

/** For the gateway of a node: `groups` live in its own store, `cell-groups` in the cell's ledger. */
export function createGroupRoutes(
  store: Grouped,
  deps: {
    clock: Clock;
    folder?: "groups" | "cell-groups";
    /** For results; a group of the cell takes none. */
    levels?: ResultLevels;
  },
): Routes {
  const { groups } = store;
  const root = `/v1/streams/:name/${deps.folder ?? "groups"}`;
  const idOf = ({ params }: { params: Call["Params"] }) => ({
    stream: params.name,
    group: params.group,
  });
  const take = createTake(store, deps.clock);
  return (app: HttpApp) => {
    const described = (description: { readonly summary: string }) => ({
      config: {
        openapi:
          deps.folder === "cell-groups"
            ? { ...description, summary: `Of the cell, by its ledger: ${description.summary}` }
            : description,
      },
      bodyLimit: bodyBytesMax,
    });
    app.get<Call>(root, described(descriptions.list), async ({ params }) => ({
      groups: await groups.list(params.name),
    }));
    app.get<Call>(`${root}/:group`, described(descriptions.status), (request) =>
      groups.status(idOf(request)),
    );
    app.put<Call>(`${root}/:group`, described(descriptions.create), async (request, reply) => {
      const start =
        request.body === undefined ? { from: "oldest" as const } : parse(startSchema, request.body);
      const { created, ...status } = await groups.create(idOf(request), start);
      return reply.code(created ? 201 : 200).send(status);
    });
    app.delete<Call>(`${root}/:group`, described(descriptions.remove), async (request, reply) => {
      await groups.remove(idOf(request));
      return reply.code(204).send();
    });
    app.post<Call>(`${root}/:group/seek`, described(descriptions.seek), (request) =>
      groups.seek(idOf(request), parse(startSchema, request.body)),
    );
    app.post<Call>(`${root}/:group/take`, described(descriptions.take), async (request, reply) => {
      const gone = new AbortController();
      whenClosed(reply, () => gone.abort());
      const { waitMs = 0, ...options } = parse(takeSchema, request.body ?? {});
      const taken = await take(idOf(request), options, { waitMs, gone: gone.signal });
      return reply.type("application/json").send(takenJson(taken));
    });
    app.post<Call>(`${root}/:group/ack`, described(descriptions.ack), (request, reply) =>
      acknowledge(
        parse(ackSchema, request.body),
        {
          ack: (of, results) => groups.ack(idOf(request), of, results),
          levels: deps.levels,
        },
        reply,
      ),
    );
    app.post<Call>(`${root}/:group/extend`, described(descriptions.extend), async (request) => {
      const { delivery: of, ackMs } = parse(extendSchema, request.body);
      return { held: await groups.extend(idOf(request), of, ackMs) };
    });
    app.post<Call>(`${root}/:group/release`, described(descriptions.release), async (request) => {
      const { delivery: of } = parse(releaseSchema, request.body);
      return { held: await groups.release(idOf(request), of) };
    });
  };
}

/** Takes, waiting for entries or for another member's deadline. */
function createTake({ groups, on }: Grouped, clock: Clock) {
  let waiters = 0;
  return async (
    id: { stream: string; group: string },
    options: Parameters<typeof groups.take>[1],
    { waitMs, gone }: { waitMs: number; gone: AbortSignal },
  ): Promise<Delivery | undefined> => {
    const untilMs = clock.monotonicMs() + waitMs;
    let grown = Promise.withResolvers<void>();
    const unsubscribe = on("grown", ({ streams }) => {
      if (streams.includes(id.stream)) grown.resolve();
    });
    if (waiters >= waitersMax) {
      unsubscribe();
      throw new SkerryError({
        code: "store-busy",
        message: `${waiters} members wait for entries here already`,
        hint: "let fewer wait at a time, or ask without waitMs",
        retryable: true,
      });
    }
    waiters++;
    try {
      for (;;) {
        const taken = await groups.take(id, options);
        // Where that fails the group is gone by now, or the batch's deadline gives it back.
        if (taken && gone.aborted) await groups.release(id, taken.delivery).catch(() => false);
        const leftMs = untilMs - clock.monotonicMs();
        if (taken || gone.aborted || leftMs <= 0) return taken;
        const timer = clock.after(Math.min(leftMs, lookAgainMs), grown.resolve);
        await grown.promise;
        timer.cancel();
        grown = Promise.withResolvers();
      }
    } finally {
      waiters--;
      unsubscribe();
    }
  };
}

function takenJson(taken: Delivery | undefined): string {
  if (!taken) return '{"entries":[]}';
  const { entries, ...rest } = taken;
  return `${JSON.stringify(rest).slice(0, -1)},"entries":[${entries.map(entryJson).join(",")}]}`;
}

function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = issue?.path.join(".");
  throw new SkerryError({
    code: "invalid-request",
    message: `${field ? `${field}: ` : ""}${issue?.message ?? "not allowed"}`,
    hint: "docs/streams.md shows each request",
  });
}
