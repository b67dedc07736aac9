/**
 * What a witness of a cell's ledger starts from: a file, made by a server of the cell and brought to
 * the witness's machine by a person. It holds the witness's key.
 */
import * as z from "zod";

const host = z.string().min(1);
const port = z.number().int().min(1).max(65_535);
const pem = z.string().startsWith("-----BEGIN ");
/** etcd's: they exceed what a JavaScript number holds. */
const decimal = z.string().regex(/^\d{1,20}$/);

export const witnessName = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export const witnessBundleSchema = z.object({
  kind: z.literal("skerry-witness"),
  version: z.literal(1),
  name: z.string().regex(witnessName),
  trustDomain: z.string(),
  /** Where the cell's servers reach it. */
  address: z.object({ host, port }),
  keyPem: pem,
  certPem: pem,
  caPem: pem,
  /** Of its certificate; milliseconds since 1970. */
  notAfterMs: z.number(),
  /** Of the cluster: members of another refuse this one. */
  token: z.string(),
  clusterId: decimal,
  /** Of etcd on the servers: the witness may not be older. */
  etcdVersion: z.string(),
  memberId: decimal,
  /** All members, this one included. */
  members: z.array(z.object({ id: decimal, name: z.string(), peerUrl: z.url() })).min(2),
  timers: z.object({ heartbeatMs: z.number().positive(), electionMs: z.number().positive() }),
});

export type WitnessBundle = Readonly<z.infer<typeof witnessBundleSchema>>;

/** What an administrator asks for; without `address` the bundle of one that is there, renewed. */
export type WitnessRequest = {
  readonly name: string;
  readonly address?: { readonly host: string; readonly port: number };
};
