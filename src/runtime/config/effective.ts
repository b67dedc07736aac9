/** What a start would run with, and where each value comes from; secrets are struck out. */
import type { ConfigKeys, Loaded } from "./keys.ts";

export type EffectiveValue = {
  readonly key: string;
  readonly value: string | number | boolean;
  /** `--api-port`, `SKERRY_API_PORT`, `FILE:LINE`, the record of an earlier start, or `default`. */
  readonly from: string;
};

const struckOut = "********";

/** One row for each key that has a value. */
export function effectiveValues(options: {
  readonly keys: ConfigKeys;
  readonly given: Loaded<Readonly<Record<string, unknown>>>;
  /** As the start resolves it, by key. */
  readonly effective: Readonly<Record<string, unknown>>;
  /** What an earlier start kept, by key, and the file it stands in. */
  readonly kept: { readonly values: Readonly<Record<string, unknown>>; readonly path: string };
}): readonly EffectiveValue[] {
  const { keys, given, effective, kept } = options;
  return Object.entries(keys).flatMap(([key, { secret, default: otherwise }]) => {
    const value = effective[key] ?? given.config[key] ?? otherwise;
    if (value === undefined) return [];
    const from =
      given.originByField[key] ?? (kept.values[key] === undefined ? "default" : kept.path);
    return [{ key, value: secret ? struckOut : plain(value), from }];
  });
}

const plain = (value: unknown) =>
  typeof value === "number" || typeof value === "boolean" ? value : String(value);
