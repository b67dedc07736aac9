/** The ledger as consumer groups of the cell need it (`data/ports.ts`), from coordination's requests. */
import type { GroupLedger } from "../data/index.ts";
import type {
  Coordination,
  CoordinationAnswer,
  CoordinationRequest,
} from "../ledger/applications/index.ts";
import { decodeError, SkerryError } from "../lib/errors.ts";

/** `id`: the SPIFFE id of this node, which the ledger is asked as. */
export function groupLedgerOf(
  coordination: Coordination,
  { node, id }: { node: string; id: string },
): GroupLedger {
  const caller = { id, token: "" };
  const call = (request: CoordinationRequest, signal?: AbortSignal) =>
    coordination.call(caller, request, signal ? { signal } : {});
  const kind = "lock";
  return {
    node,
    async open(ttlMs) {
      const answer = await call({ type: "session-create", ttlMs });
      if (answer.state !== "done" || answer.session === undefined) throw failed(answer);
      return { session: answer.session, ttlMs: answer.ttlMs ?? ttlMs };
    },
    async renew(session) {
      try {
        const answer = await call({ type: "session-renew", session });
        if (answer.state !== "done") throw failed(answer);
        return true;
      } catch (error) {
        if (isOver(error)) return false;
        throw error;
      }
    },
    async end(session) {
      try {
        await call({ type: "session-end", session });
      } catch (error) {
        if (!isOver(error)) throw error;
      }
    },
    async claim(name, { session, waitMs, signal }) {
      try {
        const answer = await call(
          { type: "claim", kind, name, session, id: node, waitMs, value: node },
          signal,
        );
        // One whose answer was lost is asked for again: the same session and id get it once (C5).
        return answer.state === "done" && answer.token !== undefined
          ? { token: answer.token }
          : undefined;
      } catch (error) {
        if (isOver(error)) return "session-over";
        throw error;
      }
    },
    async release(name, token) {
      await call({ type: "release", kind, name, token });
    },
    async holder(name) {
      const answer = await call({ type: "holder", kind, name });
      if (answer.state !== "holder") throw failed(answer);
      return answer.holder?.value;
    },
    async read(key) {
      const answer = await call({ type: "get", key });
      if (answer.state !== "item") throw failed(answer);
      return answer.item ? itemOf(answer.item) : undefined;
    },
    async list(prefix) {
      const items: ReturnType<typeof itemOf>[] = [];
      let from: { after: string; revision: number } | undefined;
      for (;;) {
        const answer = await call({ type: "list", prefix, limit: 1000, ...from });
        if (answer.state !== "page") throw failed(answer);
        items.push(...answer.items.map(itemOf));
        const after = items.at(-1)?.key;
        if (!answer.more || after === undefined) return items;
        from = { after, revision: answer.revision };
      }
    },
    async write(key, text, { revision, fence }) {
      const answer = await call({
        key,
        ifRevision: revision,
        ...(fence ? { fence: { kind, ...fence } } : {}),
        ...(text === undefined
          ? { type: "delete" }
          : { type: "put", value: Buffer.from(text).toString("base64") }),
      });
      if (answer.state === "done") return { state: "done", revision: answer.revision ?? 0 };
      if (answer.state === "refused")
        return { state: answer.code === "fence-lost" ? "fenced" : "changed" };
      if (answer.state === "unknown") return { state: "unknown" };
      throw failed(answer);
    },
  };
}

const itemOf = ({
  key,
  value,
  modRevision,
}: {
  key: string;
  value: string;
  modRevision: number;
}) => ({
  key,
  text: Buffer.from(value, "base64").toString(),
  revision: modRevision,
});

const isOver = (error: unknown) => error instanceof SkerryError && error.code === "session-unknown";

const failed = (answer: CoordinationAnswer): SkerryError =>
  answer.state === "unknown"
    ? decodeError(answer.cause)
    : new SkerryError({ code: "internal", message: `the ledger's answer was "${answer.state}"` });
