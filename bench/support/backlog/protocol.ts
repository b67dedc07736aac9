/** What the bench of a backlog says to the process that plays a cell's nodes, and what that says back. */
import type { Credentials, Trust } from "../../../src/transport/index.ts";

/** Readings of about 130 bytes with keys, or the shorter ones without that the drill `long-offline` sends. */
export type Shape = "readings" | "short";

export type Packing = {
  readonly shape: Shape;
  readonly nodes: number;
  readonly batchesPerNode: number;
  readonly entriesPerBatch: number;
};

export type Packed = { readonly packedBytes: number; readonly bodyBytes: number };

export type Sending = {
  /** One a node. */
  readonly credentials: readonly Credentials[];
  readonly hub: { readonly host: string; readonly port: number };
  /** The hub's own domain. */
  readonly trust: Trust;
  /** Of a node, under way at once. */
  readonly windowBatches: number;
};

export type Sent = {
  /** From the first push until the last was acknowledged. */
  readonly tookMs: number;
  /** As the hub's vector says. */
  readonly arrived: number;
};

export type Commands = {
  /** Makes all batches, as the gate would have cleared them: what cells do is not measured. */
  pack(packing: Packing): Promise<Packed>;
  /** Sends what was packed last. */
  send(sending: Sending): Promise<Sent>;
};
