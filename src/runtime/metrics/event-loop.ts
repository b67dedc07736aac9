/**
 * How late the main thread's event loop runs, as Node measures it: what a beat, a watch or an
 * acknowledgement waits for behind other work. Measured from the first scrape on, since measuring
 * wakes the process a hundred times a second; each scrape covers the time since the one before.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Gauge, type Registry } from "prom-client";

/** Between two looks. Node's histogram holds whole intervals; what is told is the excess over this. */
const resolutionMs = 10;
const quantiles = [0.5, 0.99, 1] as const;

export function registerEventLoopDelay(registry: Registry): void {
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  const gauge = new Gauge({
    name: "skerry_event_loop_delay_seconds",
    help: "Delay of the main thread's event loop since the last scrape, by quantile.",
    labelNames: ["quantile"],
    registers: [registry],
    collect() {
      histogram.enable();
      for (const quantile of quantiles) {
        const intervalMs = histogram.percentile(quantile * 100) / 1e6;
        const delayMs = histogram.count === 0 ? 0 : Math.max(0, intervalMs - resolutionMs);
        gauge.set({ quantile: String(quantile) }, delayMs / 1000);
      }
      histogram.reset();
    },
  });
}
