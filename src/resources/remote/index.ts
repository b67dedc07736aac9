/**
 * Resources over the Kubernetes API of the cell's servers, for nodes that are none. A write that
 * failed is definite only when its connection never stood; all else is `unknown`.
 */
import {
  isScalable,
  type KindDefinition,
  type KubeObject,
  type ObjectKey,
} from "../../api/index.ts";
import type { Clock } from "../../lib/clock.ts";
import { decodeError, encodeError, SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { isObject } from "../patch/values.ts";
import type {
  DeleteOptions,
  ListOptions,
  ListResult,
  Patch,
  Resources,
  WriteOptions,
  WriteRefusal,
  WriteResult,
} from "../resources.ts";
import { isFromStart, listThenWatch } from "../watching.ts";
import { errorOf, refusalOf, statusOf, unavailable } from "./answers.ts";
import {
  createConnections,
  type JudgeServer,
  type RemoteCredentials,
  type RemoteServer,
} from "./connections.ts";
import { collectionPath, listQuery, objectPath, withQuery, writeQuery } from "./paths.ts";
import { createRequests, type Request, type ServerSilence } from "./requests.ts";
import { watchRemote } from "./watch.ts";

export type RemoteResourcesOptions = {
  /** The servers' API addresses, best first; asked before every request. */
  readonly servers: () => readonly RemoteServer[];
  /** Asked before every request: a renewed certificate is used by new connections. */
  readonly credentials: () => RemoteCredentials;
  /** The DNS name in the servers' certificates: `api.CELL.skerry`. */
  readonly servername: string;
  /** Identity's `verifyServer` for that name. */
  readonly judgeServer: JudgeServer;
  /** This node's name, for `User-Agent: skerry-agent/NODE`. */
  readonly node: string;
  /** For one request on one server. Default 5 s. */
  readonly attemptTimeoutMs?: number;
  /** For TCP and TLS to stand. Default 1.5 s. */
  readonly connectTimeoutMs?: number;
  /** A watch that hears nothing, not even a bookmark, for this long is broken. Default 15 s. */
  readonly watchStallMs?: number;
  /** Which servers nobody hears: requests pass them over, and what waits for one ends. */
  readonly silence?: ServerSilence;
};

export type RemoteResources = Resources & {
  /** Ends every request and watch. */
  close(): Promise<void>;
};

const patchTypes = {
  json: "application/json-patch+json",
  merge: "application/merge-patch+json",
  strategic: "application/strategic-merge-patch+json",
  apply: "application/apply-patch+yaml",
} as const satisfies Record<Patch["type"], string>;

export function createRemoteResources(
  deps: { clock: Clock; log: Log },
  options: RemoteResourcesOptions,
): RemoteResources {
  const log = deps.log.child({ room: "resources" });
  const connections = createConnections({
    credentials: options.credentials,
    servername: options.servername,
    judgeServer: options.judgeServer,
    connectTimeoutMs: options.connectTimeoutMs ?? 1500,
  });
  const requests = createRequests(
    { clock: deps.clock, log, connections },
    {
      servers: options.servers,
      userAgent: `skerry-agent/${options.node}`,
      attemptTimeoutMs: options.attemptTimeoutMs ?? 5000,
      ...(options.silence === undefined ? {} : { silence: options.silence }),
    },
  );
  const stallMs = options.watchStallMs ?? 15_000;

  const read = async (path: string, signal: AbortSignal | undefined): Promise<unknown> => {
    const sent = await requests.send({ method: "GET", path, signal });
    if (sent.state !== "answered")
      throw unavailable("no server of this cell can be reached", sent.cause);
    const { answer } = sent;
    if (answer.code === 200) return answer.body;
    if (answer.code === 404) return undefined;
    throw errorOf(answer);
  };

  const get = async <T extends KubeObject>(
    kind: KindDefinition<T>,
    key: ObjectKey,
    signal: AbortSignal | undefined,
  ) => (await read(objectPath(kind as KindDefinition, key), signal)) as T | undefined;

  const write = async (request: Request): Promise<WriteResult<KubeObject>> => {
    const sent = await requests.send(request);
    if (sent.state === "unsent")
      throw unavailable("no server of this cell can be reached; nothing was changed", sent.cause);
    if (sent.state === "unknown") return { state: "unknown", cause: asError(sent.cause) };
    const { answer } = sent;
    if (answer.code >= 200 && answer.code < 300) {
      return {
        state: "done",
        object: answer.body as KubeObject,
        ...(answer.warnings.length > 0 ? { warnings: answer.warnings } : {}),
      };
    }
    const refusal = refusalOf(answer);
    if (refusal) return refusal;
    if (answer.code === 401 || answer.code === 429) throw errorOf(answer);
    return { state: "unknown", cause: errorOf(answer) };
  };

  /** The API answers a Scale; the contract promises the object. */
  const thenRead = async <T extends KubeObject>(
    kind: KindDefinition<T>,
    key: ObjectKey,
    result: WriteResult<KubeObject>,
    signal: AbortSignal | undefined,
  ): Promise<WriteResult<T>> => {
    if (result.state !== "done") return result;
    try {
      const object = await get(kind, key, signal);
      if (object) return { ...result, object };
      return { state: "unknown", cause: unavailable(`${key.name} was deleted meanwhile`) };
    } catch (error) {
      return { state: "unknown", cause: asError(error) };
    }
  };

  const remove = async <T extends KubeObject>(
    kind: KindDefinition<T>,
    key: ObjectKey,
    given: DeleteOptions,
  ): Promise<WriteResult<T>> => {
    if (given.onlyWhile) return needsLedger;
    // The API answers the removal of an object without the object.
    const before = await get(kind, key, given.signal);
    const { gracePeriodSeconds, preconditions, propagationPolicy } = given;
    const result = await write({
      method: "DELETE",
      path: withQuery(objectPath(kind as KindDefinition, key), {
        dryRun: given.dryRun ? "All" : undefined,
      }),
      body: {
        apiVersion: "v1",
        kind: "DeleteOptions",
        gracePeriodSeconds,
        preconditions,
        propagationPolicy,
      },
      signal: given.signal,
    });
    if (result.state !== "done") return result;
    const isObjectItself = isObject(result.object) && result.object.kind === kind.kind;
    const object = (isObjectItself ? result.object : before) as T | undefined;
    return object
      ? { ...result, object }
      : { state: "unknown", cause: unavailable(statusOf(result.object, 200).message) };
  };

  return {
    get: (kind, key, { signal } = {}) => get(kind, key, signal),

    async list<T extends KubeObject>(kind: KindDefinition<T>, given: ListOptions = {}) {
      const path = collectionPath(kind as KindDefinition, given.namespace);
      const body = await read(withQuery(path, listQuery(given)), given.signal);
      return listOf<T>(body);
    },

    watch(kind, given = {}) {
      const from = (resourceVersion: string) =>
        watchRemote({ requests, log }, kind, { ...given, resourceVersion }, stallMs);
      return isFromStart(given.resourceVersion)
        ? listThenWatch(this, kind, given, from)
        : from(given.resourceVersion ?? "");
    },

    async create<T extends KubeObject>(
      kind: KindDefinition<T>,
      object: T,
      given: WriteOptions = {},
    ) {
      if (given.onlyWhile) return needsLedger;
      const path = collectionPath(kind as KindDefinition, object.metadata.namespace);
      const request = { method: "POST", path: withQuery(path, writeQuery(given)) } as const;
      const result = await write({ ...request, body: object, signal: given.signal });
      return result as WriteResult<T>;
    },

    async update<T extends KubeObject>(
      kind: KindDefinition<T>,
      object: T,
      given: Parameters<Resources["update"]>[2] = {},
    ) {
      if (given.onlyWhile) return needsLedger;
      const { subresource, signal } = given;
      const key = object.metadata;
      if (subresource === "scale") {
        const { uid, resourceVersion } = key;
        const replicas = isScalable(object) ? object.spec.replicas : undefined;
        const body = { metadata: { uid, resourceVersion }, spec: { replicas } };
        return await this.patch(kind, key, { type: "merge", body }, given);
      }
      const path = objectPath(kind as KindDefinition, key, subresource);
      const request = { method: "PUT", path: withQuery(path, writeQuery(given)) } as const;
      return (await write({ ...request, body: object, signal })) as WriteResult<T>;
    },

    async patch<T extends KubeObject>(
      kind: KindDefinition<T>,
      key: ObjectKey,
      patch: Patch,
      given: Parameters<Resources["patch"]>[3] = {},
    ) {
      if (given.onlyWhile) return needsLedger;
      const { subresource, signal } = given;
      const force = patch.type === "apply" && patch.force ? true : undefined;
      const path = objectPath(kind as KindDefinition, key, subresource);
      const result = await write({
        method: "PATCH",
        path: withQuery(path, { ...writeQuery(given), force }),
        body: patch.body,
        contentType: patchTypes[patch.type],
        signal,
      });
      return subresource === "scale"
        ? await thenRead(kind, key, result, signal)
        : (result as WriteResult<T>);
    },

    delete: (kind, key, given = {}) => remove(kind, key, given),

    async close() {
      requests.close();
      await connections.close();
    },
  };
}

/** Said at once: HTTP has no word for it, and a write without its conditions is another write. */
const needsLedger: WriteRefusal = {
  state: "refused",
  reason: "invalid",
  message: "onlyWhile: only a server, on its ledger, can write on condition of other objects",
};

function listOf<T>(body: unknown): ListResult<T> {
  const metadata = isObject(body) && isObject(body["metadata"]) ? body["metadata"] : undefined;
  const items = isObject(body) ? body["items"] : undefined;
  const resourceVersion = metadata?.["resourceVersion"];
  if (!Array.isArray(items) || typeof resourceVersion !== "string") {
    throw new SkerryError({
      code: "ledger-unavailable",
      message: "the server's answer to a list is no list",
      retryable: true,
    });
  }
  const token = metadata?.["continue"];
  return {
    items: items as T[],
    resourceVersion,
    ...(typeof token === "string" && token !== "" ? { continueToken: token } : {}),
  };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : decodeError(encodeError(error));
}
