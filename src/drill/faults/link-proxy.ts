/**
 * A TCP link that can be cut without anybody being told, as a real one is: while cut, bytes stop in
 * both directions, nothing is closed, and new connections are taken but lead nowhere. After the
 * heal, connections that lived through the cut are reset, as a NAT that forgot them would do.
 */
import { connect, createServer, type Socket } from "node:net";

export type LinkProxy = {
  readonly port: number;
  cut(): void;
  heal(): void;
  close(): Promise<void>;
};

export function startLinkProxy(options: {
  host: string;
  port: number;
  target: { host: string; port: number };
}): Promise<LinkProxy> {
  const pairs = new Set<{ near: Socket; far: Socket | undefined }>();
  let isCut = false;

  const server = createServer((near) => {
    const pair: { near: Socket; far: Socket | undefined } = { near, far: undefined };
    pairs.add(pair);
    near.on("error", () => undefined);
    near.on("close", () => {
      pair.far?.destroy();
      pairs.delete(pair);
    });
    if (isCut) {
      near.pause();
      return;
    }
    const far = connect(options.target);
    pair.far = far;
    far.on("error", () => near.destroy());
    far.on("close", () => near.destroy());
    near.pipe(far);
    far.pipe(near);
  });

  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => {
      const address = server.address();
      resolve({
        port: typeof address === "object" && address ? address.port : options.port,
        cut() {
          isCut = true;
          for (const { near, far } of pairs) {
            near.unpipe();
            far?.unpipe();
            near.pause();
            far?.pause();
          }
        },
        heal() {
          isCut = false;
          for (const { near, far } of pairs) {
            near.resetAndDestroy();
            far?.resetAndDestroy();
          }
        },
        close() {
          for (const { near, far } of pairs) {
            near.destroy();
            far?.destroy();
          }
          return new Promise((done) => server.close(() => done()));
        },
      });
    });
  });
}
