/** What a hub needs to know to start; what lasts is kept in `hub.json`. */
import { isIP } from "node:net";
import { join } from "node:path";
import { z } from "zod";
import { SkerryError } from "../lib/errors.ts";
import { readRecord, writeRecord } from "../runtime/files/index.ts";

const name = z
  .string()
  .regex(
    /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    "expected lower-case letters, digits and dashes, at most 63",
  );
const host = z
  .string()
  .refine((text) => isIP(text) !== 0, "expected an IP address of this machine");
const port = z.coerce
  .number()
  .int("expected a whole number")
  .min(0)
  .max(65_535, "expected a port from 0 to 65535");

export const hubConfigSchema = z.strictObject({
  dataDir: z.string().min(1),
  name: name.optional(),
  host: host.optional(),
  port: port.optional(),
  logLevel: z.enum(["debug", "info", "warn", "error"]).optional(),
});

export type HubConfig = z.infer<typeof hubConfigSchema>;

const hubRecordSchema = z.strictObject({ name, host, port });
export type HubRecord = z.infer<typeof hubRecordSchema>;

/** The record of this start: kept values, overridden by what was given; written back. */
export function resolveHubRecord(config: HubConfig): HubRecord {
  const path = join(config.dataDir, "hub.json");
  const kept = hubRecordSchema.optional().safeParse(readRecord(path));
  if (!kept.success) {
    throw new SkerryError({
      code: "invalid-config",
      message: `${path}: ${kept.error.issues[0]?.message}`,
      hint: "it was written by another version",
    });
  }
  if (config.name !== undefined && kept.data && kept.data.name !== config.name) {
    throw new SkerryError({
      code: "invalid-config",
      message: `name: "${config.name}" was given, but ${config.dataDir} belongs to hub "${kept.data.name}"`,
      hint: "use another --data folder, or leave the flag out",
    });
  }
  const record: HubRecord = {
    name: config.name ?? kept.data?.name ?? "hub",
    host: config.host ?? kept.data?.host ?? "127.0.0.1",
    port: config.port ?? kept.data?.port ?? 9443,
  };
  writeRecord(path, record);
  return record;
}
