/** Heartbeats in: the UDP socket, and the count of what was refused. `judge-beat.ts` decides. */
import { createSocket } from "node:dgram";
import { isIPv6 } from "node:net";
import type { Beat } from "../../api/index.ts";
import type { Trust } from "../../identity/index.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { cannotListen } from "../listen.ts";
import { createBeatJudge, type BeatRefusal } from "./judge-beat.ts";

export type BeatListenOptions = {
  readonly host: string;
  /** The peers port; 0 picks a free one. */
  readonly port: number;
  readonly trust: () => Trust;
  readonly onBeat: (beat: Beat) => void;
};

export interface BeatListener {
  readonly port: number;
  readonly accepted: number;
  readonly refusedByReason: ReadonlyMap<BeatRefusal, number>;
  close(): Promise<void>;
}

const receiveBufferBytes = 256 * 1024;

/** Throws `port-in-use` or `cannot-listen`. */
export async function listenBeats(
  deps: { clock: Clock; log: Log; nowMs: () => number },
  options: BeatListenOptions,
): Promise<BeatListener> {
  const { host, port } = options;
  const refusedByReason = new Map<BeatRefusal, number>();
  const judge = createBeatJudge({ ...deps, trust: options.trust });
  let accepted = 0;
  const socket = createSocket({
    type: isIPv6(host) ? "udp6" : "udp4",
    recvBufferSize: receiveBufferBytes,
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("error", (cause) => reject(cannotListen(cause, { host, port })));
    socket.bind(port, host, resolve);
  });
  socket.on("error", (error) => deps.log.warn("beats cannot be received", { error }));
  socket.on("message", (datagram, { address }) => {
    const outcome = judge(datagram, address);
    if (typeof outcome === "string") {
      refusedByReason.set(outcome, (refusedByReason.get(outcome) ?? 0) + 1);
      return;
    }
    accepted++;
    options.onBeat(outcome);
  });
  return {
    port: socket.address().port,
    get accepted() {
      return accepted;
    },
    refusedByReason,
    close: () => new Promise((resolve) => socket.close(() => resolve())),
  };
}
