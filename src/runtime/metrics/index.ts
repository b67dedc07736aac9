/** Prometheus metrics. A registry is made by a root and passed in; there is no global one. */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { registerEventLoopDelay } from "./event-loop.ts";

export type Metrics = {
  counter<Label extends string>(
    name: string,
    help: string,
    labels?: readonly Label[],
  ): Counter<Label>;
  gauge<Label extends string>(name: string, help: string, labels?: readonly Label[]): Gauge<Label>;
  /** `buckets` in the unit that the name ends in (`_seconds`, `_bytes`). */
  histogram<Label extends string>(
    name: string,
    help: string,
    buckets: number[],
    labels?: readonly Label[],
  ): Histogram<Label>;
  /** The text exposition format (prometheus.io/docs/instrumenting/exposition_formats). */
  render(): Promise<string>;
  readonly contentType: string;
};

export function createMetrics(defaultLabels: Record<string, string> = {}): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels(defaultLabels);
  registerEventLoopDelay(registry);
  const registers = [registry];
  return {
    counter: (name, help, labelNames = []) =>
      new Counter({ name, help, labelNames: [...labelNames], registers }),
    gauge: (name, help, labelNames = []) =>
      new Gauge({ name, help, labelNames: [...labelNames], registers }),
    histogram: (name, help, buckets, labelNames = []) =>
      new Histogram({ name, help, buckets, labelNames: [...labelNames], registers }),
    render: () => registry.metrics(),
    contentType: registry.contentType,
  };
}
