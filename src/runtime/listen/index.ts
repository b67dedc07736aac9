/** Opens a listener, or says in words why not. */
import type { AddressInfo, Server } from "node:net";
import { SkerryError, systemCode } from "../../lib/errors.ts";

/** Resolves once `server` listens, with the port it got. Throws `port-in-use` or `cannot-listen`. */
export function listenOn(
  server: Server,
  options: { readonly host: string; readonly port: number; readonly what: string },
): Promise<{ readonly port: number }> {
  const { host, port, what } = options;
  return new Promise((resolve, reject) => {
    const onError = (cause: Error) =>
      reject(
        new SkerryError(
          systemCode(cause) === "EADDRINUSE"
            ? {
                code: "port-in-use",
                message: `${what}: another process listens on ${host}:${port}`,
                hint: "stop it, choose another port, or 0 for any free one",
                cause,
              }
            : {
                code: "cannot-listen",
                message: `${what}: cannot listen on ${host}:${port}`,
                hint: "is it an address of this machine, and a port this user may open?",
                cause,
              },
        ),
      );
    server.once("error", onError);
    server.listen({ host, port }, () => {
      server.removeListener("error", onError);
      resolve({ port: (server.address() as AddressInfo).port });
    });
  });
}
