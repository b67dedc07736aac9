/** A connection to another node's mesh port: mTLS, and only to the node that it says it is. */
import { connect as connectTls, type TLSSocket } from "node:tls";
import type { Clock, Timer } from "../../../lib/clock.ts";
import {
  clientTlsOptions,
  verifyPeer,
  type Credentials,
  type Trust,
} from "../../../transport/index.ts";
import { addressOf, type MeshAddress } from "../../routes/table.ts";
import { ConnectFailed } from "./failure.ts";

export type MeshIdentity = { readonly credentials: Credentials; readonly trust: Trust };

const handshakeTimeoutMs = 2_000;
/** Any name: peers are judged by their SPIFFE id, but TLS wants one. */
const meshServerName = "mesh.skerry";
/** A timer this late says that this thread did not run, not that the other end was slow. */
const lateMs = 50;

/** Rejects with `ConnectFailed` that blames the node. */
export function connectMesh(
  deps: { clock: Clock; nowMs: () => number },
  options: {
    readonly node: string;
    readonly address: MeshAddress;
    readonly identity: MeshIdentity;
    readonly connectTimeoutMs: number;
  },
): Promise<TLSSocket> {
  const { node, address } = options;
  const { credentials, trust } = options.identity;
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      ...clientTlsOptions({ credentials, trusts: [trust], alpn: ["http/1.1"] }),
      ...address,
      servername: meshServerName,
    });
    const where = `the mesh of ${node} at ${addressOf({ ip: address.host, port: address.port })}`;
    const fail = (message: string, cause?: unknown) => {
      timer.cancel();
      socket.destroy();
      reject(new ConnectFailed(`${where} ${message}`, { blame: "node", cause }));
    };
    let timer = afterAwake(deps.clock, options.connectTimeoutMs, () => fail("does not answer"));
    socket.setNoDelay(true);
    socket.once("connect", () => {
      timer.cancel();
      timer = afterAwake(deps.clock, handshakeTimeoutMs, () => fail("does not end its handshake"));
    });
    const onError = (cause: Error) => fail("cannot be reached", cause);
    const onClose = () => fail("closed the connection");
    socket.once("error", onError);
    socket.once("close", onClose);
    socket.once("secureConnect", () => {
      const verdict = verifyPeer(socket, [trust], deps.nowMs());
      if (!verdict.ok) return fail(`is not to be trusted: ${verdict.message}`);
      const { id, path } = verdict.subject;
      if (path[0] !== "node" || path[1] !== node) return fail(`says that it is ${id}`);
      timer.cancel();
      socket.removeListener("error", onError);
      socket.removeListener("close", onClose);
      resolve(socket);
    });
  });
}

/**
 * A limit on the other end's time. After a pause of this thread timers run before what has come
 * meanwhile is read: a late one waits a little more, so that the answer can be seen.
 */
export function afterAwake(clock: Clock, limitMs: number, callback: () => void): Timer {
  const dueMs = clock.monotonicMs() + limitMs;
  let timer = clock.after(limitMs, () => {
    if (clock.monotonicMs() - dueMs <= lateMs) callback();
    else timer = clock.after(lateMs, callback);
  });
  return { cancel: () => timer.cancel() };
}
