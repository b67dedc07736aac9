/** The two thread halves of consumer groups; entries cross packed. */
import type { EntryInput } from "../../../api/index.ts";
import type { Thread } from "../../../runtime/thread/index.ts";
import { pack, unpack, type PackedEntries } from "../../batch/packed.ts";
import { packableOf, readEntries } from "../packing.ts";
import type {
  AckAnswer,
  ConsumerGroups,
  Delivery,
  GroupId,
  GroupStart,
  GroupStatus,
  TakeOptions,
} from "./groups.ts";

type PackedDelivery = Omit<Delivery, "entries"> & {
  readonly page: PackedEntries;
  readonly view: string;
};

export type GroupMethods = {
  "groups.create"(
    call: GroupId & { start: GroupStart },
  ): Promise<GroupStatus & { readonly created: boolean }>;
  "groups.seek"(call: GroupId & { start: GroupStart }): Promise<GroupStatus>;
  "groups.remove"(id: GroupId): Promise<void>;
  "groups.list"(stream: string): Promise<readonly GroupStatus[]>;
  "groups.status"(id: GroupId): Promise<GroupStatus>;
  "groups.take"(call: GroupId & { options: TakeOptions }): Promise<PackedDelivery | undefined>;
  "groups.ack"(call: GroupId & { delivery: string; results?: PackedEntries }): Promise<AckAnswer>;
  "groups.extend"(call: GroupId & { delivery: string; ackMs: number }): Promise<boolean>;
  "groups.release"(call: GroupId & { delivery: string }): Promise<boolean>;
};

/** In the storage thread. */
export function serveGroups(groups: ConsumerGroups): GroupMethods {
  return {
    "groups.create": ({ start, ...id }) => groups.create(id, start),
    "groups.seek": ({ start, ...id }) => groups.seek(id, start),
    "groups.remove": (id) => groups.remove(id),
    "groups.list": (stream) => groups.list(stream),
    "groups.status": (id) => groups.status(id),
    async "groups.take"({ options, ...id }) {
      const taken = await groups.take(id, options);
      if (!taken) return undefined;
      const { entries, ...delivery } = taken;
      const view = entries[0]?.cursor.split(".")[0] ?? "";
      return { ...delivery, page: pack(entries.map(packableOf)), view };
    },
    "groups.ack": ({ delivery, results, ...id }) =>
      groups.ack(id, delivery, results && (unpack(results) as readonly EntryInput[])),
    "groups.extend": ({ delivery, ackMs, ...id }) => groups.extend(id, delivery, ackMs),
    "groups.release": ({ delivery, ...id }) => groups.release(id, delivery),
  };
}

/** On the main thread. */
export function connectGroups(thread: Pick<Thread<GroupMethods, never>, "call">): ConsumerGroups {
  return {
    create: (id, start) => thread.call("groups.create", { ...id, start }),
    seek: (id, start) => thread.call("groups.seek", { ...id, start }),
    remove: (id) => thread.call("groups.remove", id),
    list: (stream) => thread.call("groups.list", stream),
    status: (id) => thread.call("groups.status", id),
    async take(id, options) {
      const taken = await thread.call("groups.take", { ...id, options });
      if (!taken) return undefined;
      const { page, view, ...delivery } = taken;
      return { ...delivery, entries: readEntries(page, view) };
    },
    ack: (id, delivery, results) =>
      thread.call("groups.ack", {
        ...id,
        delivery,
        ...(results?.length ? { results: pack(results) } : {}),
      }),
    extend: (id, delivery, ackMs) => thread.call("groups.extend", { ...id, delivery, ackMs }),
    release: (id, delivery) => thread.call("groups.release", { ...id, delivery }),
  };
}
