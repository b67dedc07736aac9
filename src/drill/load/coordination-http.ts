/**
 * The coordination interface as docs/coordination.md describes it, spoken plainly: what an answer
 * means is taken at its word, so that a checker can hold the cell to it. No retries.
 */
import { Agent, request } from "undici";
import { explain, systemCode } from "../../lib/errors.ts";
import type { Clock } from "../../lib/clock.ts";

/** `failed`: it surely did not happen. */
export type WriteOutcome<Done> =
  | ({ readonly state: "done" } & Done)
  | { readonly state: "refused"; readonly code: string; readonly current: StoredItem | undefined }
  | { readonly state: "unknown"; readonly why: string }
  | { readonly state: "failed"; readonly code: string };

export type StoredItem = {
  readonly key: string;
  readonly value: string;
  readonly modRevision: number;
  readonly version: number;
};

export type ReadOutcome =
  | { readonly state: "found"; readonly value: string; readonly revision: number }
  | { readonly state: "absent" }
  | { readonly state: "failed"; readonly code: string };

export type WatchLine =
  | {
      readonly type: "change";
      readonly id: string;
      readonly revision: number;
      readonly events: readonly WatchedEvent[];
    }
  | { readonly type: "bookmark"; readonly id: string; readonly revision: number }
  | { readonly type: "compacted" };
export type WatchedEvent = { readonly key: string; readonly value: string | undefined };

export type Condition =
  | { readonly revision: number }
  | { readonly absent: true }
  | { readonly lock: string; readonly token: number };

export type CoordinationHttp = {
  read(key: string): Promise<ReadOutcome>;
  put(key: string, value: string, when?: Condition): Promise<WriteOutcome<{ revision: number }>>;
  /** All keys under it, at one revision. Throws where it cannot be read. */
  list(prefix: string): Promise<{ revision: number; items: readonly StoredItem[] }>;
  openSession(ttlMs: number): Promise<WriteOutcome<{ session: string; ttlMs: number }>>;
  renew(session: string): Promise<WriteOutcome<{ ttlMs: number }>>;
  acquire(
    lock: string,
    ask: { session: string; id: string; waitMs: number },
  ): Promise<WriteOutcome<{ token: number }>>;
  release(lock: string, token: number): Promise<WriteOutcome<object>>;
  /** Everything after `from`, until the connection ends. Throws where it does not begin. */
  watch(
    from: { after: number } | { lastEventId: string },
    signal: AbortSignal,
  ): AsyncIterable<WatchLine>;
  close(): Promise<void>;
};

type Answer = { readonly status: number; readonly text: string; readonly etag?: string };
type Wire = {
  readonly key: string;
  readonly value: string;
  readonly modRevision: number;
  readonly version: number;
};

const listPage = 500;
const decode = (base64: string) => Buffer.from(base64, "base64").toString();
const item = ({ key, value, modRevision, version }: Wire): StoredItem => ({
  key,
  value: decode(value),
  modRevision,
  version,
});

export function createCoordinationHttp(options: {
  readonly gateway: string;
  readonly token: string;
  readonly timeoutMs: number;
  readonly clock: Clock;
}): CoordinationHttp {
  const { timeoutMs, clock } = options;
  const base = `${options.gateway}/v1/coordination`;
  const authorization = `Bearer ${options.token}`;
  const agent = new Agent({ connections: 32, connectTimeout: timeoutMs, bodyTimeout: 0 });

  const ask = async (
    method: "GET" | "PUT" | "POST" | "DELETE",
    path: string,
    more: { body?: string; headers?: Record<string, string>; patienceMs?: number } = {},
  ): Promise<Answer> => {
    const abort = new AbortController();
    const late = Promise.withResolvers<never>();
    const timer = clock.after(more.patienceMs ?? timeoutMs, () => {
      const reason = new Error("no answer in time");
      abort.abort(reason);
      // A request that waits for a connection to a silent machine hears of its abort only with it.
      late.reject(reason);
    });
    const asked = request(`${base}${path}`, {
      method,
      dispatcher: agent,
      signal: abort.signal,
      headers: { authorization, ...more.headers },
      ...(more.body === undefined ? {} : { body: more.body }),
    }).then(async ({ statusCode, headers, body }) => ({
      status: statusCode,
      text: await body.text(),
      etag: String(headers["etag"] ?? ""),
    }));
    try {
      return await Promise.race([asked, late.promise]);
    } finally {
      asked.catch(() => undefined);
      timer.cancel();
    }
  };

  const write = async <Done extends object>(
    method: "PUT" | "POST" | "DELETE",
    path: string,
    more: Parameters<typeof ask>[2] = {},
  ): Promise<WriteOutcome<Done>> => {
    let answer: Answer;
    try {
      answer = await ask(method, path, more);
    } catch (error) {
      return systemCode(error) === "ECONNREFUSED"
        ? { state: "failed", code: "ECONNREFUSED" }
        : { state: "unknown", why: explain(error) };
    }
    const body = parsed(answer.text) as {
      state?: string;
      current?: Wire | null;
      error?: { code?: string };
    };
    const code = body.error?.code ?? `status ${answer.status}`;
    if (answer.status === 200 && body.state === "done") return { ...(body as Done), state: "done" };
    if (answer.status === 412) {
      const { current } = body;
      const stored = typeof current?.value === "string" ? item(current) : undefined;
      return { state: "refused", code, current: stored };
    }
    // Whoever passed it on and did not hear back says so; what else says nothing is not known either.
    if (answer.status === 504 || body.error?.code === undefined)
      return { state: "unknown", why: code };
    return { state: "failed", code };
  };

  return {
    async read(key) {
      try {
        const { status, text, etag = "" } = await ask("GET", `/keys/${key}`);
        if (status === 200)
          return { state: "found", value: text, revision: Number(etag.replaceAll('"', "")) };
        const code = (parsed(text) as { error?: { code?: string } }).error?.code;
        if (status === 404 && code === "key-unknown") return { state: "absent" };
        return { state: "failed", code: code ?? `status ${status}` };
      } catch (error) {
        return { state: "failed", code: explain(error) };
      }
    },
    put(key, value, when) {
      const query = when && "lock" in when ? `?lock=${when.lock}&token=${when.token}` : "";
      const headers: Record<string, string> = { "content-type": "text/plain" };
      if (when && "revision" in when) headers["if-match"] = `"${when.revision}"`;
      if (when && "absent" in when) headers["if-none-match"] = "*";
      return write("PUT", `/keys/${key}${query}`, { body: value, headers });
    },
    async list(prefix) {
      const items: StoredItem[] = [];
      let page = "";
      for (;;) {
        const { status, text } = await ask(
          "GET",
          `/keys?prefix=${prefix}&limit=${listPage}${page}`,
        );
        if (status !== 200) throw new Error(`status ${status}: ${text.slice(0, 200)}`);
        const body = parsed(text) as { revision: number; more: boolean; items: Wire[] };
        items.push(...body.items.map(item));
        const last = body.items.at(-1)?.key;
        if (!body.more || last === undefined) return { revision: body.revision, items };
        page = `&after=${encodeURIComponent(last)}&revision=${body.revision}`;
      }
    },
    openSession: (ttlMs) => write("POST", "/sessions", json({ ttlMs })),
    renew: (session) => write("POST", `/sessions/${session}/renew`, json({})),
    acquire: (lock, { session, id, waitMs }) =>
      write("POST", `/locks/${lock}`, {
        ...json({ session, id, waitMs }),
        patienceMs: waitMs + timeoutMs,
      }),
    release: (lock, token) => write("DELETE", `/locks/${lock}?token=${token}`),
    async *watch(from, signal) {
      const headers: Record<string, string> = { authorization, accept: "text/event-stream" };
      if ("lastEventId" in from) headers["last-event-id"] = from.lastEventId;
      const query = "after" in from ? `&after=${from.after}` : "";
      const answer = await request(`${base}/watch?prefix=${query}`, {
        dispatcher: agent,
        signal,
        headers,
        headersTimeout: timeoutMs,
      });
      if (answer.statusCode !== 200)
        throw new Error(`status ${answer.statusCode}: ${(await answer.body.text()).slice(0, 200)}`);
      yield* linesOf(answer.body.setEncoding("utf8"));
    },
    close: () => agent.destroy(),
  };
}

/** Server-sent events: fields, then an empty line. */
async function* linesOf(chunks: AsyncIterable<string>): AsyncIterable<WatchLine> {
  let rest = "";
  for await (const chunk of chunks) {
    const blocks = `${rest}${chunk}`.split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const fields = new Map(
        block
          .split("\n")
          .filter((text) => !text.startsWith(":"))
          .map((text) => [
            text.slice(0, text.indexOf(":")),
            text.slice(text.indexOf(":") + 1).trimStart(),
          ]),
      );
      const line = lineOf(fields);
      if (line) yield line;
    }
  }
}

function lineOf(fields: ReadonlyMap<string, string>): WatchLine | undefined {
  const id = fields.get("id") ?? "";
  const data = parsed(fields.get("data") ?? "{}") as {
    revision: number;
    events?: readonly { type: "put" | "delete"; key: string; value?: string }[];
  };
  switch (fields.get("event")) {
    case "change":
      return {
        type: "change",
        id,
        revision: data.revision,
        events: (data.events ?? []).map(({ type, key, value }) => ({
          key,
          value: type === "delete" ? undefined : decode(value ?? ""),
        })),
      };
    case "bookmark":
      return { type: "bookmark", id, revision: data.revision };
    case "compacted":
      return { type: "compacted" };
    default:
      return undefined;
  }
}

const json = (body: object) => ({
  body: JSON.stringify(body),
  headers: { "content-type": "application/json" },
});

/** An empty object for what is no JSON: its status says enough. */
function parsed(text: string): object {
  try {
    return JSON.parse(text) as object;
  } catch {
    return {};
  }
}
