/** Between what the gateway sends and what a program is given. */
import type { Holder, KeyEntry, WriteOutcome, WriteOptions } from "./types.ts";
import { errorOf, jsonOf, write, type Gateway, type GatewayRequest } from "./gateway.ts";

export type WireItem = {
  readonly key: string;
  /** Base64. */
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly session?: string;
};

export const entryOf = (item: WireItem): KeyEntry =>
  withText({ ...item, value: Uint8Array.from(atob(item.value), (each) => each.charCodeAt(0)) });

export const withText = (entry: Omit<KeyEntry, "text">): KeyEntry => ({
  ...entry,
  text: () => new TextDecoder().decode(entry.value),
});

/** A path below keys, whatever stands in it. */
export const keyPath = (key: string) => `/keys/${key.split("/").map(encodeURIComponent).join("/")}`;

export function withFence(
  path: string,
  fence: WriteOptions["fence"],
  more: [string, string][] = [],
): string {
  const query = new URLSearchParams(more);
  if (fence) {
    if ("lock" in fence) query.set("lock", fence.lock);
    else query.set("election", fence.election);
    query.set("token", String(fence.token));
  }
  return query.size === 0 ? path : `${path}?${query}`;
}

/** A write of one key. Throws what the server says that it did not do. */
export async function writeKey(
  gateway: Gateway,
  path: string,
  request: GatewayRequest,
): Promise<WriteOutcome> {
  const outcome = await write(gateway, path, request);
  if (outcome.state === "unknown") return outcome;
  const { answer } = outcome;
  if (answer.status === 200)
    return { state: "done", revision: jsonOf<{ revision: number }>(answer).revision };
  if (answer.status !== 412) throw errorOf(answer);
  const { revision, current, error } = jsonOf<{
    revision: number;
    current: WireItem | Holder | null;
    error: { code: string };
  }>(answer);
  return error.code === "fence-lost"
    ? {
        state: "refused",
        reason: "fence-lost",
        revision,
        holder: (current ?? undefined) as Holder | undefined,
      }
    : {
        state: "refused",
        reason: "condition-failed",
        revision,
        current: current ? entryOf(current as WireItem) : undefined,
      };
}
