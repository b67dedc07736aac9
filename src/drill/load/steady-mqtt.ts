/**
 * One device on one MQTT connection: publishes at a steady rate with QoS 1 and, like any ordinary
 * client, connects anew when the connection ends or an acknowledgement does not come.
 */
import type { Clock } from "../../lib/clock.ts";
import { connectPublisher, type Publisher } from "./mqtt-publisher.ts";

export type SteadyPublisher = {
  /** Wall clock of each acknowledgement, in order. */
  readonly acknowledgedMs: readonly number[];
  stop(): Promise<void>;
};

export function startSteadyPublisher(options: {
  readonly host: string;
  readonly port: number;
  readonly topic: string;
  readonly token: string;
  readonly periodMs: number;
  /** For a connection, and for an acknowledgement. */
  readonly patienceMs: number;
  readonly clock: Clock;
}): SteadyPublisher {
  const { host, port, topic, token, periodMs, patienceMs, clock } = options;
  const acknowledgedMs: number[] = [];
  const stopping = new AbortController();
  let sent = 0;

  const publishUntilLost = async (publisher: Publisher) => {
    try {
      while (!stopping.signal.aborted && !publisher.closed) {
        const late = clock.after(patienceMs, () => publisher.close());
        try {
          await publisher.publish(topic, JSON.stringify({ value: sent++, site: "drill" }));
          acknowledgedMs.push(clock.wallMs());
        } finally {
          late.cancel();
        }
        await clock.sleep(periodMs);
      }
    } finally {
      publisher.close();
    }
  };
  const running = (async () => {
    for (let life = 0; !stopping.signal.aborted; life++) {
      try {
        const clientId = `steady-${life}`;
        const login = { clientId, username: "steady", password: token };
        await publishUntilLost(
          await connectPublisher({ host, port, ...login, timeoutMs: patienceMs, clock }),
        );
      } catch {
        // Refused, reset, silent: what a client does about each is to try again.
        await clock.sleep(periodMs);
      }
    }
  })();
  return {
    acknowledgedMs,
    async stop() {
      stopping.abort();
      await running;
    },
  };
}
