/** Desired state of a cell over its Kubernetes-shaped API: what the command line and drills need. */
import { SkerryError } from "../lib/errors.ts";
import {
  apiVersionOf,
  type KindDefinition,
  type KubeObject,
  type ObjectKey,
} from "../api/index.ts";

export type ClusterOptions = {
  /** `https://127.0.0.11:7443` */
  readonly server: string;
  /** Carries the caller's certificate. */
  readonly fetch: typeof fetch;
  readonly fieldManager: string;
};

export interface Cluster {
  /** Server-side apply with force. Throws `refused` with the server's words. */
  apply<T extends KubeObject>(kind: KindDefinition<T>, object: T): Promise<T>;
  get<T extends KubeObject>(kind: KindDefinition<T>, key: ObjectKey): Promise<T | undefined>;
  list<T extends KubeObject>(
    kind: KindDefinition<T>,
    options?: { namespace?: string; labelSelector?: string },
  ): Promise<readonly T[]>;
  delete(kind: KindDefinition, key: ObjectKey): Promise<void>;
}

export function createCluster(options: ClusterOptions): Cluster {
  const pathOf = (
    kind: Pick<KindDefinition, "group" | "version" | "plural" | "namespaced">,
    key: Partial<ObjectKey>,
  ) => {
    const prefix = kind.group === "" ? "/api/v1" : `/apis/${apiVersionOf(kind)}`;
    const namespace = kind.namespaced && key.namespace ? `/namespaces/${key.namespace}` : "";
    return `${options.server}${prefix}${namespace}/${kind.plural}${key.name ? `/${key.name}` : ""}`;
  };
  const call = async (
    url: string,
    init: RequestInit,
  ): Promise<{ status: number; body: unknown }> => {
    let answer: Response;
    try {
      answer = await options.fetch(url, init);
    } catch (cause) {
      throw new SkerryError({
        code: "cell-unreachable",
        message: `no answer from the cell's API at ${options.server}`,
        hint: "is the agent running there? try: skerry status",
        retryable: true,
        cause,
      });
    }
    const text = await answer.text();
    return { status: answer.status, body: text === "" ? undefined : JSON.parse(text) };
  };
  const refused = (what: string, { status, body }: { status: number; body: unknown }) => {
    const message =
      typeof body === "object" && body !== null && "message" in body
        ? String(body.message)
        : `status ${status}`;
    return new SkerryError({
      code: "refused",
      message: `${what}: ${message}`,
      retryable: status >= 500,
    });
  };

  return {
    async apply(kind, object) {
      const key = { namespace: object.metadata.namespace ?? "default", name: object.metadata.name };
      const query = new URLSearchParams({ fieldManager: options.fieldManager, force: "true" });
      const answer = await call(`${pathOf(kind, key)}?${query}`, {
        method: "PATCH",
        headers: { "content-type": "application/apply-patch+yaml" },
        body: JSON.stringify(object),
      });
      if (answer.status >= 300) throw refused(`${kind.kind} ${key.name}`, answer);
      return answer.body as never;
    },
    async get(kind, key) {
      const answer = await call(pathOf(kind, key), {});
      if (answer.status === 404) return undefined;
      if (answer.status >= 300) throw refused(`${kind.kind} ${key.name}`, answer);
      return answer.body as never;
    },
    async list(kind, { namespace, labelSelector } = {}) {
      const query = labelSelector === undefined ? "" : `?${new URLSearchParams({ labelSelector })}`;
      const answer = await call(
        `${pathOf(kind, namespace === undefined ? {} : { namespace })}${query}`,
        {},
      );
      if (answer.status >= 300) throw refused(kind.plural, answer);
      return (answer.body as { items: never[] }).items;
    },
    async delete(kind, key) {
      const answer = await call(pathOf(kind, key), { method: "DELETE" });
      if (answer.status >= 300 && answer.status !== 404)
        throw refused(`${kind.kind} ${key.name}`, answer);
    },
  };
}
