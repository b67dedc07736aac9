/**
 * A way out through an HTTP proxy (RFC 9110, section 9.3.6): CONNECT, and then the bytes of whoever
 * asked for it. What the proxy sees is where to, and TLS that it cannot read.
 */
import { connect, type Socket } from "node:net";
import { SkerryError } from "../lib/errors.ts";
import type { Address } from "./transport.ts";

export type Proxy = Address & {
  /** `user:password`, as they are. */
  readonly credentials?: string;
};

/** `http://[USER:PASSWORD@]HOST[:PORT]`; port 3128 where there is none. Undefined for anything else. */
export function parseProxy(text: string): Proxy | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== "http:" || url.hostname === "" || !["", "/"].includes(url.pathname))
    return undefined;
  // A URL leaves out its scheme's own port.
  const port = url.port === "" ? (/:80\/?$/.test(text) ? 80 : 3128) : Number(url.port);
  const { username, password } = url;
  return {
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port,
    ...(username === ""
      ? {}
      : { credentials: `${decodeURIComponent(username)}:${decodeURIComponent(password)}` }),
  };
}

const headBytesMax = 16 * 1024;

/** A connection to `to`, ready for its first byte. Throws `proxy-refused`, `peer-unreachable`, or the signal's reason. */
export async function connectThrough(
  { credentials, ...proxy }: Proxy,
  to: Address,
  signal: AbortSignal,
): Promise<Socket> {
  signal.throwIfAborted();
  const where = `${proxy.host}:${proxy.port}`;
  const target = to.host.includes(":") ? `[${to.host}]:${to.port}` : `${to.host}:${to.port}`;
  const socket = connect(proxy);
  const onAbort = () => socket.destroy(signal.reason as Error);
  signal.addEventListener("abort", onAbort);
  const login =
    credentials === undefined
      ? ""
      : `proxy-authorization: Basic ${Buffer.from(credentials).toString("base64")}\r\n`;
  socket.write(`CONNECT ${target} HTTP/1.1\r\nhost: ${target}\r\n${login}\r\n`);
  try {
    const head = await headOf(socket, where);
    const [, status = "", reason = ""] = /^HTTP\/1\.\d (\d{3}) ?(.*)$/.exec(head) ?? [];
    if (status.startsWith("2")) return socket;
    throw new SkerryError({
      code: "proxy-refused",
      message: `the proxy ${where} does not connect to ${target}: ${status === "" ? "it does not speak HTTP" : `${status} ${reason.slice(0, 100)}`.trim()}`,
      hint:
        status === "407"
          ? "give it a name and password: http://USER:PASSWORD@HOST:PORT"
          : "the proxy has to allow CONNECT to the hub's address and port",
      retryable: true,
    });
  } catch (error) {
    socket.destroy();
    if (signal.aborted) throw signal.reason;
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** The first line of the proxy's answer, once its head is read; what follows stays in the socket. */
function headOf(socket: Socket, where: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let read = Buffer.alloc(0);
    const done = () => {
      socket.off("readable", onReadable).off("error", onError).off("close", onClose);
    };
    const onReadable = () => {
      for (let chunk: Buffer | null = socket.read(); chunk; chunk = socket.read()) {
        read = Buffer.concat([read, chunk]);
        const end = read.indexOf("\r\n\r\n");
        if (end < 0 && read.length <= headBytesMax) continue;
        done();
        const rest = end < 0 ? Buffer.alloc(0) : read.subarray(end + 4);
        if (rest.length > 0) socket.unshift(rest);
        resolve(end < 0 ? "" : read.toString("latin1", 0, read.indexOf("\r\n")));
        return;
      }
    };
    const onError = (cause: Error) => {
      done();
      reject(
        cause instanceof SkerryError
          ? cause
          : new SkerryError({
              code: "peer-unreachable",
              message: `cannot reach the proxy ${where}`,
              retryable: true,
              cause,
            }),
      );
    };
    const onClose = () => onError(new Error("the connection ended"));
    socket.on("readable", onReadable).on("error", onError).on("close", onClose);
  });
}
