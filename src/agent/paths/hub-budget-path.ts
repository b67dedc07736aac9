/**
 * The way of the budget towards the hub: a node's configuration and its Streams → what may be sent now;
 * what was sent → the account of the day, beside what is sent, and to Prometheus.
 */
import type { Stream } from "../../api/index.ts";
import {
  createHubBudget,
  parseLane,
  type HubBudget,
  type Limits,
  type StreamStore,
} from "../../data/index.ts";
import { parseBytes } from "../../lib/duration.ts";
import type { Ground } from "../ground.ts";

export type HubBudgetPath = {
  readonly budget: HubBudget;
  /** Of a log, or of a stream that goes apart from it. */
  priorityOf(log: string): number;
  declare(streams: readonly Stream[]): void;
};

export async function startHubBudget(
  { clock, log, metrics, record }: Ground,
  { account }: Pick<StreamStore, "account">,
): Promise<HubBudgetPath> {
  const budget = createHubBudget(
    { clock, log, keeper: account },
    limitsOf({ bytesPerSecond: record.hubBytesPerSecond, bytesPerDay: record.hubBytesPerDay }),
  );
  await budget.open();
  const sent = metrics.gauge(
    "skerry_hub_sent_today_bytes",
    "Sent to the hub since midnight UTC, compressed; by stream where it has a budget of its own, in all without one.",
    ["stream"],
  );
  const left = metrics.gauge(
    "skerry_hub_budget_left_bytes",
    "What may still be sent to the hub today, by stream, in all without one; absent without a limit.",
    ["stream"],
  );
  const waits = metrics.gauge(
    "skerry_hub_budget_used_up",
    "1 while something waits for the next day because a budget towards the hub is used up.",
  );
  metrics.beforeRender(() => {
    for (const gauge of [sent, left]) gauge.reset();
    const { streams, usedUpForMs, ...all } = budget.status();
    for (const { name, sentToday, leftToday } of [{ name: "", ...all }, ...streams]) {
      sent.set({ stream: name }, sentToday);
      if (leftToday !== undefined) left.set({ stream: name }, leftToday);
    }
    waits.set(usedUpForMs === undefined ? 0 : 1);
  });

  let priorities: ReadonlyMap<string, number> = new Map();
  return {
    budget,
    priorityOf(name) {
      const lane = parseLane(name);
      return lane ? (priorities.get(lane.stream) ?? 0) : 0;
    },
    declare(streams) {
      priorities = new Map(
        streams.map(({ metadata, spec }) => [metadata.name, spec?.priority ?? 0]),
      );
      budget.declare(
        new Map(
          streams.flatMap(({ metadata, spec }) =>
            spec?.hubBudget ? [[metadata.name, limitsOf(spec.hubBudget)] as const] : [],
          ),
        ),
      );
    },
  };
}

function limitsOf(texts: {
  readonly bytesPerSecond?: string | undefined;
  readonly bytesPerDay?: string | undefined;
}): Limits {
  const { bytesPerSecond = "off", bytesPerDay = "off" } = texts;
  return {
    ...(bytesPerSecond === "off"
      ? {}
      : { bytesPerSecond: parseBytes(bytesPerSecond, "hubBytesPerSecond") }),
    ...(bytesPerDay === "off" ? {} : { bytesPerDay: parseBytes(bytesPerDay, "hubBytesPerDay") }),
  };
}
