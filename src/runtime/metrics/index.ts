/** Prometheus metrics. A registry is made by a root and passed in; there is no global one. */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { registerEventLoopDelay } from "./event-loop.ts";
import { registerProcess } from "./process.ts";

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
  /** `collect` brings its metrics up to date before each scrape; one that throws fails the scrape. */
  beforeRender(collect: () => void | Promise<void>): void;
  /** The text exposition format (prometheus.io/docs/instrumenting/exposition_formats). */
  render(): Promise<string>;
  readonly contentType: string;
};

export function createMetrics(defaultLabels: Record<string, string> = {}): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels(defaultLabels);
  registerEventLoopDelay(registry);
  registerProcess(registry);
  const collectors: (() => void | Promise<void>)[] = [];
  const registers = [registry];
  return {
    counter: (name, help, labelNames = []) =>
      new Counter({ name, help, labelNames: [...labelNames], registers }),
    gauge: (name, help, labelNames = []) =>
      new Gauge({ name, help, labelNames: [...labelNames], registers }),
    histogram: (name, help, buckets, labelNames = []) =>
      new Histogram({ name, help, buckets, labelNames: [...labelNames], registers }),
    beforeRender: (collect) => void collectors.push(collect),
    async render() {
      await Promise.all(collectors.map((collect) => collect()));
      return registry.metrics();
    },
    contentType: registry.contentType,
  };
}
