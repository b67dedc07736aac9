/**
 * The process's own weight under the names that every Prometheus client gives them
 * (prometheus.io/docs/instrumenting/writing_clientlibs, "Process metrics"), read at the scrape only.
 */
import { readdirSync, readFileSync } from "node:fs";
import { Counter, Gauge, type Registry } from "prom-client";

export function registerProcess(registry: Registry): void {
  const gauge = (name: string, help: string, read: () => number) => {
    const made: Gauge = new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        try {
          made.set(read());
        } catch {
          // At the limit of open files /proc cannot be read; the rest of the scrape is worth having.
          made.reset();
        }
      },
    });
  };
  const cpu: Counter = new Counter({
    name: "process_cpu_seconds_total",
    help: "CPU time of this process, user and system.",
    registers: [registry],
    collect() {
      const { user, system } = process.cpuUsage();
      cpu.reset();
      cpu.inc((user + system) / 1e6);
    },
  });
  gauge("process_resident_memory_bytes", "Resident memory, shared pages included.", () =>
    process.memoryUsage.rss(),
  );
  gauge("process_open_fds", "Open file descriptors.", () => readdirSync("/proc/self/fd").length);
  gauge("process_max_fds", "Most file descriptors this process may open.", () =>
    Number(/^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1]),
  );
  gauge("process_threads", "Threads of this process.", () =>
    Number(/^Threads:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]),
  );
  const startedSeconds = performance.timeOrigin / 1000;
  gauge(
    "process_start_time_seconds",
    "When this process began, since the epoch.",
    () => startedSeconds,
  );
}
