/** What the entry load writes and the checker and the drill read. */
import type { Pace } from "./ramp.ts";

export type EntryLoadConfig = Pace & {
  readonly seed: number;
  readonly stream: string;
  readonly nodes: readonly {
    readonly name: string;
    /** `http://127.0.0.11:7480` */
    readonly gateway: string;
    readonly mqtt: { readonly host: string; readonly port: number };
    readonly token: string;
  }[];
  /** Every tick makes one batch for HTTP or for MQTT in turn. */
  readonly tickMs: number;
  /** Share of acknowledged entries sent once more, to another node where there is one. */
  readonly resendShare: number;
  readonly attemptTimeoutMs: number;
  /** After the load ends, how long unacknowledged entries are still offered. */
  readonly graceMs: number;
  /** One acknowledged key a line: producer, epoch and sequence, separated by tabs. */
  readonly acknowledgedPath: string;
};

export type EntryLoadResult = {
  readonly produced: number;
  readonly acknowledged: number;
  /** Outcome unknown when the load ended: neither promised nor missed. */
  readonly unacknowledged: number;
  /** Acknowledged by each node in each second of the wall clock. */
  readonly byNode: Readonly<Record<string, Readonly<Record<number, number>>>>;
  /** Acknowledged once more. */
  readonly resent: number;
  /** From when it was due to its acknowledgement. */
  readonly latenciesMs: readonly number[];
  readonly attemptsFailed: number;
  /** Failures by what they said, with their counts. */
  readonly failures: Readonly<Record<string, number>>;
};

export const keyLine = (producer: string, epoch: number, sequence: number) =>
  `${producer}\t${epoch}\t${sequence}`;
