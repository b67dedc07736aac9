/** The proxy thread: the built-in engine behind the thread's protocol. */
import { encodeError, SkerryError } from "../lib/errors.ts";
import type { Log, LogFields } from "../lib/log.ts";
import { systemClock, systemRandom } from "../runtime/clock/index.ts";
import { serveThread } from "../runtime/thread/index.ts";
import { startProxy, type Proxy } from "./engines/node/proxy.ts";
import type { ProxyEvents, ProxyMethods, ProxyStart } from "./protocol.ts";

/** A flood of refused connections must not become a flood of lines. */
const linesPerWindow = 20;
const windowMs = 10_000;
let lines = 0;
let windowStartedMs = 0;

const say =
  (level: ProxyEvents["log"]["level"]) =>
  (message: string, fields: LogFields = {}) => {
    // Debugging a proxy from the main thread's log would cost more than the traffic.
    if (level === "debug") return;
    const nowMs = systemClock.monotonicMs();
    if (nowMs - windowStartedMs > windowMs) {
      windowStartedMs = nowMs;
      lines = 0;
    }
    if (++lines > linesPerWindow) return;
    const { error, ...rest } = fields;
    host.emit("log", {
      level,
      message,
      fields: { ...rest, ...(error === undefined ? {} : { error: encodeError(error) }) },
    });
  };
const log: Log = {
  debug: say("debug"),
  info: say("info"),
  warn: say("warn"),
  error: say("error"),
  child: () => log,
};

let proxy: Proxy | undefined;
const running = (): Proxy => {
  if (proxy) return proxy;
  throw new SkerryError({ code: "internal", message: "the proxy was not started" });
};

const methods: ProxyMethods = {
  async start(options: ProxyStart) {
    proxy = await startProxy(
      {
        clock: systemClock,
        random: systemRandom,
        log,
        onCounts: (added, now, latencies) => host.emit("counts", { added, now, latencies }),
      },
      options,
    );
    return proxy.ports;
  },
  setTable: (table) => running().setTable(table),
  setIdentity: (identity) => running().setIdentity(identity),
  setIngressAlso: (hosts) => running().setIngressAlso(hosts),
  stop: (options) => running().stop(options),
};

const host = serveThread<ProxyEvents>(methods);
