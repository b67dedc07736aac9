/** ConfigMap: configuration that pods read. */
import * as z from "zod";
import { textMap } from "../schema/builders.ts";
import { sameValue } from "../../lib/stable.ts";
import { defineKind } from "./define.ts";
import { metadataSchema } from "./metadata.ts";

const configMapSchema = z.strictObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("ConfigMap"),
  metadata: metadataSchema,
  data: textMap.optional(),
  /** Base64. */
  binaryData: textMap.optional(),
  immutable: z.boolean().optional(),
});
export type ConfigMap = z.infer<typeof configMapSchema>;

const bytesMax = 768 * 1024;
const keyPattern = /^[-._a-zA-Z0-9]{1,253}$/;

export const configMapKind = defineKind<ConfigMap>({
  version: "v1",
  kind: "ConfigMap",
  plural: "configmaps",
  shortNames: ["cm"],
  schema: configMapSchema,
  ownColumns: [
    {
      name: "Data",
      type: "integer",
      description: "How many keys it holds.",
      cell: ({ data, binaryData }) =>
        Object.keys(data ?? {}).length + Object.keys(binaryData ?? {}).length,
    },
  ],
  validate(configMap, previous) {
    const { data = {}, binaryData = {} } = configMap;
    const issues = [...Object.keys(data), ...Object.keys(binaryData)]
      .filter((key) => !keyPattern.test(key))
      .map((key) => ({
        field: `data[${key}]`,
        message: `"${key}" must be letters, digits, "-", "_" and ".", at most 253`,
      }));
    for (const key of Object.keys(data).filter((name) => name in binaryData)) {
      issues.push({ field: `binaryData[${key}]`, message: `"${key}" stands in data already` });
    }
    for (const [key, value] of Object.entries(binaryData)) {
      if (!/^[A-Za-z0-9+/]*={0,2}$/.test(value) || value.length % 4 !== 0)
        issues.push({ field: `binaryData[${key}]`, message: "must be base64" });
    }
    const bytes = [...Object.entries(data), ...Object.entries(binaryData)].reduce(
      (sum, [key, value]) => sum + key.length + value.length,
      0,
    );
    if (bytes > bytesMax) {
      issues.push({
        field: "data",
        message: `${bytes} bytes are too much, at most ${bytesMax} are allowed`,
      });
    }
    if (
      previous?.immutable &&
      (!configMap.immutable ||
        !sameValue([data, binaryData], [previous.data ?? {}, previous.binaryData ?? {}]))
    ) {
      issues.push({ field: "data", message: "may not change: the ConfigMap is immutable" });
    }
    return issues;
  },
});
