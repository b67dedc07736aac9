/**
 * What the servers know of their members' timers, in the ledger itself: what each measured, and what
 * all of them shall run with. Whoever coordinates next reads on.
 */
import * as z from "zod";
import { unavailable } from "../../checks.ts";
import type { Campaign, KeyValue, Ledger, Operation, Revision } from "../../ledger.ts";
import type { EtcdTimers } from "../process/flags.ts";
import type { MemberReport } from "./plan.ts";

const prefix = "servers/timers/";
const wantedKey = `${prefix}wanted`;
const reportsPrefix = `${prefix}reports/`;

const timers = z.object({
  heartbeatMs: z.number().int().min(1),
  electionMs: z.number().int().max(50_000),
});
const wantedSchema = z.object({ timers, why: z.string() });
const reportSchema = z.object({
  name: z.string(),
  memberId: z.string(),
  running: timers.optional(),
  probeP99Ms: z.number().optional(),
  measurement: z
    .object({
      windowMs: z.number(),
      fsyncs: z.number(),
      fsyncP99Ms: z.number().optional(),
      roundTripP99MsById: z.record(z.string(), z.number()),
      leaderChanges: z.number(),
      heartbeatFailures: z.number(),
      slowApplies: z.number(),
    })
    .optional(),
});

export type WantedTimers = { readonly timers: EtcdTimers; readonly why: string };
export type TimerReport = MemberReport & {
  /** What the disk showed when this server's agent started. */
  readonly probeP99Ms?: number | undefined;
};
export type StoredReport = TimerReport & { readonly revision: Revision };

export interface TimersBook {
  /** Undefined when nobody has decided anything yet. Throws as the ledger does. */
  wanted(): Promise<WantedTimers | undefined>;
  /** Only while `leader` leads. Throws `ledger-unavailable` (retryable) when it does not, or nobody knows. */
  want(wanted: WantedTimers, leader: Pick<Campaign, "key" | "fence">): Promise<void>;
  reports(): Promise<readonly StoredReport[]>;
  report(report: TimerReport): Promise<void>;
  /** Of a server that is none any more. */
  forget(name: string): Promise<void>;
}

export function createTimersBook(ledger: Pick<Ledger, "get" | "list" | "transact">): TimersBook {
  const put = (key: string, value: unknown): Operation => ({
    type: "put",
    key,
    value: new TextEncoder().encode(JSON.stringify(value)),
  });
  const write = async (operation: Operation) => {
    const outcome = await ledger.transact([], [operation]);
    if (outcome.state === "unknown")
      throw unavailable("whether it was written is not known", outcome.cause);
  };
  return {
    async wanted() {
      const { keyValue } = await ledger.get(wantedKey);
      return keyValue && parse(wantedSchema, keyValue);
    },
    async want(wanted, { key, fence }) {
      const outcome = await ledger.transact(
        [{ key, modRevision: Number(fence) as Revision }],
        [put(wantedKey, wanted)],
      );
      if (outcome.state === "done") return;
      throw unavailable(
        "the timers of the ledger were not decided",
        outcome.state === "unknown" ? outcome.cause : undefined,
      );
    },
    async reports() {
      const { items } = await ledger.list(reportsPrefix);
      return items.flatMap((keyValue): StoredReport[] => {
        const report = parse(reportSchema, keyValue);
        return report ? [{ ...report, revision: keyValue.modRevision }] : [];
      });
    },
    report: (report) => write(put(`${reportsPrefix}${report.name}`, report)),
    forget: (name) => write({ type: "delete", key: `${reportsPrefix}${name}` }),
  };
}

/** What another version wrote in another way is as if it were not there: it is written again soon. */
function parse<T>(schema: z.ZodType<T>, { value }: KeyValue): T | undefined {
  const result = schema.safeParse(JSON.parse(new TextDecoder().decode(value)));
  return result.success ? result.data : undefined;
}
