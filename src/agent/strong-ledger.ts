/** The ledger as documents of strong collections need it (`data/ports.ts`), from coordination's requests. */
import type { StrongCaller, StrongLedger } from "../data/index.ts";
import type { Coordination, CoordinationAnswer } from "../ledger/applications/index.ts";
import { SkerryError } from "../lib/errors.ts";

type Item = { readonly key: string; readonly value: string; readonly modRevision: number };

export function strongLedgerOf(coordination: Coordination): StrongLedger {
  const callerOf = (caller: StrongCaller, collection: string) => ({ ...caller, collection });
  return {
    async read(caller, collection, keys, once) {
      const answer = await coordination.call(callerOf(caller, collection), {
        type: "read",
        keys: [...keys],
        ...(once === undefined ? {} : { once }),
      });
      if (answer.state !== "items") throw unexpected(answer);
      const items = answer.items.map((item) => (item ? itemOf(item) : undefined));
      const { receipt } = answer;
      if (!receipt) return { revision: answer.revision, items };
      const value = Buffer.from(receipt.value, "base64");
      return { revision: answer.revision, items, receipt: { ...receipt, value } };
    },
    async list(caller, collection, { limit, after, revision }) {
      const answer = await coordination.call(callerOf(caller, collection), {
        type: "list",
        prefix: "",
        limit,
        ...(after === undefined ? {} : { after }),
        ...(revision === undefined ? {} : { revision }),
      });
      if (answer.state !== "page") throw unexpected(answer);
      return { ...answer, items: answer.items.map(itemOf) };
    },
    async transact(caller, collection, { when, changes, once }) {
      const answer = await coordination.call(callerOf(caller, collection), {
        type: "transact",
        when: [...when],
        writes: changes.map(({ key, value }) => ({
          key,
          value: value === undefined ? null : Buffer.from(value).toString("base64"),
        })),
        ...(once
          ? { once: { id: once.id, value: Buffer.from(once.value).toString("base64") } }
          : {}),
      });
      switch (answer.state) {
        case "done":
          return { state: "done", revision: answer.revision ?? 0 };
        case "refused":
          return { state: "refused" };
        case "unknown":
          return { state: "unknown", cause: answer.cause.message };
        default:
          throw unexpected(answer);
      }
    },
    async *watch(caller, collection, { epoch, revision, signal }) {
      const request = { type: "watch", prefix: "", after: revision, epoch } as const;
      const items = coordination.stream(callerOf(caller, collection), request, { signal });
      for await (const item of items) {
        if (item.event === "compacted")
          throw new SkerryError({
            code: "compacted",
            message: `since: what changed after revision ${revision} is forgotten`,
            hint: "read all documents again: follow without since",
          });
        const events = item.event === "change" ? item.events : [];
        yield {
          epoch: item.epoch,
          revision: item.revision,
          items: events.map((event) => (event.type === "put" ? itemOf(event) : { key: event.key })),
        };
      }
    },
  };
}

const itemOf = ({ key, value, modRevision }: Item) => ({
  key,
  value: Buffer.from(value, "base64"),
  revision: modRevision,
});

const unexpected = ({ state }: CoordinationAnswer) =>
  new SkerryError({ code: "internal", message: `the ledger's answer was "${state}"` });
