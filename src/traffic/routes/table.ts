/**
 * The compiled route table: plain data, so that it crosses a thread, and the same for every engine.
 * `compile.ts` makes it, `match.ts` reads it.
 */

/** A pod's port that answers. */
export type RouteEndpoint = {
  readonly node: string;
  readonly ip: string;
  readonly port: number;
};

export type Backend = {
  /** `default/web:80`, for messages and counters. */
  readonly name: string;
  /** Ready ones; empty while nothing answers. */
  readonly endpoints: readonly RouteEndpoint[];
};

export type PathRule = {
  readonly path: string;
  readonly type: "Exact" | "Prefix";
  /** Index into `backends`. */
  readonly backend: number;
};

export type HostRules = {
  /** `shop.example`, `*.example`, or "" for every host. */
  readonly host: string;
  /** The one that wins first. */
  readonly paths: readonly PathRule[];
};

export type RouteTable = {
  readonly node: string;
  readonly hosts: readonly HostRules[];
  /** Where a request goes that no path matches; undefined answers 404. */
  readonly defaultBackend: number | undefined;
  readonly backends: readonly Backend[];
  /** `ip:port` of pods on this node that other nodes may reach through its mesh port. */
  readonly served: readonly string[];
  /** Where the mesh of the other nodes listens. */
  readonly meshByNode: Readonly<Record<string, MeshAddress>>;
};

export type MeshAddress = { readonly host: string; readonly port: number };

export const addressOf = ({ ip, port }: { readonly ip: string; readonly port: number }): string =>
  ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
