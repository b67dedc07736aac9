/** Durations and sizes as people write them in flags, manifests and configuration. */
import { SkerryError } from "./errors.ts";

const unitMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** `"90s"`, `"1h30m"`, `"250ms"` to milliseconds. Throws `invalid-duration` naming `field`. */
export function parseDurationMs(text: string, field: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/gy)];
  const matched = parts.reduce((length, part) => length + part[0].length, 0);
  if (text === "" || matched !== text.length) {
    throw new SkerryError({
      code: "invalid-duration",
      message: `${field}: "${text}" is not a duration`,
      hint: "write a number with a unit: 250ms, 90s, 10m, 1h30m, 7d",
    });
  }
  return parts.reduce((sum, part) => sum + Number(part[1]) * (unitMs[part[2] ?? ""] ?? 0), 0);
}

const unitBytes: Readonly<Record<string, number>> = {
  "": 1,
  K: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** `"64Mi"`, `"2G"`, `"1500"` to bytes. Throws `invalid-size` naming `field`. */
export function parseBytes(text: string, field: string): number {
  const match = /^(\d+(?:\.\d+)?)(|K|M|G|T|Ki|Mi|Gi|Ti)B?$/.exec(text);
  if (!match) {
    throw new SkerryError({
      code: "invalid-size",
      message: `${field}: "${text}" is not a size`,
      hint: "write bytes, or a number with K, M, G, Ki, Mi or Gi: 64Mi",
    });
  }
  return Math.floor(Number(match[1]) * (unitBytes[match[2] ?? ""] ?? 1));
}

/** 1536 to `"1.5 KiB"`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

/** 75_000 to `"1m15s"`; two units at most, as kubectl shows ages. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return `${minutes}m${seconds % 60 ? `${seconds % 60}s` : ""}`;
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return `${hours}h${minutes % 60 ? `${minutes % 60}m` : ""}`;
  if (hours < 48) return `${hours}h`;
  return `${Math.floor(hours / 24)}d`;
}
