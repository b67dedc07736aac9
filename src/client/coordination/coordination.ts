/** Coordination over the application gateway, from any program: browser-safe, all through `fetch`. */
import { SkerryError } from "../../lib/errors.ts";
import { ambientClock, ambientRandom } from "../ambient.ts";
import { takeClaim, type ClaimKind } from "./claims.ts";
import { entryOf, keyPath, withFence, withText, writeKey, type WireItem } from "./entries.ts";
import { serverEvents } from "./events.ts";
import { call, createGatewayCaller, errorOf, jsonOf } from "./gateway.ts";
import { openSession } from "./session.ts";
import type {
  CoordinationClient,
  CoordinationOptions,
  Holder,
  Lock,
  PutOptions,
  ReadOptions,
} from "./types.ts";

type WireChange = ({ readonly type: "put" } & WireItem) | { readonly type: "delete"; key: string };

const pageItems = 1000;

/** Asks for nothing before it is used, and holds nothing open but watches and sessions. */
export function createCoordination(options: CoordinationOptions): CoordinationClient {
  const gateway = createGatewayCaller({
    gateway: options.gateway,
    token: options.token,
    fetch: options.fetch ?? fetch,
    clock: options.clock ?? ambientClock,
    random: options.random ?? ambientRandom,
    timeoutMs: options.timeoutMs ?? 10_000,
  });

  const put = (
    key: string,
    value: string | Uint8Array,
    headers: Record<string, string>,
    { fence, session, signal }: PutOptions = {},
  ) => {
    const id = typeof session === "object" ? session.id : session;
    const path = withFence(keyPath(key), fence, id === undefined ? [] : [["session", id]]);
    const body = typeof value === "string" ? value : new Uint8Array(value);
    return writeKey(gateway, path, { method: "PUT", body, headers, signal });
  };

  const holderOf = async (kind: ClaimKind, name: string, { stale, signal }: ReadOptions = {}) => {
    const path = `/${kind}s/${encodeURIComponent(name)}${stale ? "?stale=1" : ""}`;
    const answer = await call(gateway, path, { signal });
    if (answer.status !== 200) throw errorOf(answer);
    const { holder, leader } = jsonOf<{ holder?: Holder | null; leader?: Holder | null }>(answer);
    return holder ?? leader ?? undefined;
  };

  const client: CoordinationClient = {
    async get(key, { stale, signal } = {}) {
      const answer = await call(gateway, `${keyPath(key)}${stale ? "?stale=1" : ""}`, { signal });
      const { headers } = answer;
      if (answer.status === 404 && errorOf(answer).code === "key-unknown") return undefined;
      if (answer.status !== 200) throw errorOf(answer);
      const session = headers.get("skerry-session");
      return withText({
        key,
        value: answer.bytes,
        createRevision: Number(headers.get("skerry-created")),
        modRevision: Number(headers.get("etag")?.replaceAll('"', "")),
        version: Number(headers.get("skerry-version")),
        ...(session === null ? {} : { session }),
      });
    },
    put: (key, value, more) => put(key, value, {}, more),
    cas: (key, revision, value, more) =>
      put(key, value, revision === 0 ? { "if-none-match": "*" } : ifMatch(revision), more),
    delete: (key, { fence, ifRevision, signal } = {}) =>
      writeKey(gateway, withFence(keyPath(key), fence), {
        method: "DELETE",
        headers: ifRevision === undefined ? {} : ifMatch(ifRevision),
        signal,
      }),

    async list(prefix, { stale, signal } = {}) {
      const items: WireItem[] = [];
      let revision: number | undefined;
      for (;;) {
        const query = new URLSearchParams({ prefix, limit: String(pageItems) });
        if (stale) query.set("stale", "1");
        const last = items.at(-1);
        if (last && revision !== undefined) {
          query.set("after", last.key);
          query.set("revision", String(revision));
        }
        const answer = await call(gateway, `/keys?${query}`, { signal });
        if (answer.status !== 200) throw errorOf(answer);
        const page = jsonOf<{ items: WireItem[]; revision: number; more: boolean }>(answer);
        revision ??= page.revision;
        items.push(...page.items);
        if (!page.more) return { items: items.map(entryOf), revision };
      }
    },

    async *watch(prefix, { after, signal } = {}) {
      const query = new URLSearchParams({ prefix });
      if (after !== undefined) query.set("after", String(after));
      for await (const { event, data } of serverEvents(gateway, `/watch?${query}`, signal)) {
        if (event === "compacted") throw compacted(data);
        if (event !== "change") continue;
        const { revision, events } = data as { revision: number; events: WireChange[] };
        yield {
          revision,
          events: events.map((change) =>
            change.type === "delete"
              ? { type: "delete", key: change.key }
              : { type: "put", entry: entryOf(change) },
          ),
        };
      }
    },

    session: (more = {}) => openSession(gateway, more),

    async lock(name, { waitMs = Infinity, ...more } = {}) {
      const claim = await takeClaim(gateway, { kind: "lock", name }, { ...more, waitMs });
      const { token, lost, end } = claim;
      return {
        name,
        token,
        fence: { lock: name, token },
        lost,
        release: end,
        [Symbol.asyncDispose]: end,
      };
    },
    async withLock(name, work, more) {
      const lock: Lock = await client.lock(name, more);
      try {
        return await work(lock);
      } finally {
        await lock.release();
      }
    },
    holder: (name, more) => holderOf("lock", name, more),

    async elect(name, more = {}) {
      const target = { kind: "election" as const, name };
      const { token, lost, end } = await takeClaim(gateway, target, { ...more, waitMs: Infinity });
      return {
        name,
        token,
        fence: { election: name, token },
        lost,
        resign: end,
        [Symbol.asyncDispose]: end,
      };
    },
    leader: (name, more) => holderOf("election", name, more),
    async *observe(name, { signal } = {}) {
      let told: number | undefined | null = null;
      const path = `/elections/${encodeURIComponent(name)}/watch`;
      for await (const { event, data } of serverEvents(gateway, path, signal)) {
        if (event !== "leader") continue;
        const { revision, leader } = data as { revision: number; leader: Holder | null };
        // A connection that was opened again begins with what is known.
        if (told === leader?.token) continue;
        told = leader?.token;
        yield { revision, leader: leader ?? undefined };
      }
    },
  };
  return client;
}

const ifMatch = (revision: number) => ({ "if-match": `"${revision}"` });

const compacted = (data: unknown) =>
  new SkerryError({
    code: "compacted",
    message: "the history that this watch would go on from is forgotten",
    hint: "list again, and watch from the revision of that list",
    details: data as Readonly<Record<string, unknown>>,
  });
