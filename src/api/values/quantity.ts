/**
 * Kubernetes quantities (k8s.io/apimachinery `resource.Quantity`): a decimal number with a binary
 * (Ki), decimal (k, M, m) or exponent (e3) suffix.
 */
import { SkerryError } from "../../lib/errors.ts";

export type Quantity = string | number;

const factors: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};
const pattern =
  /^([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([eE][+-]?\d+)|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?)$/;

function read(quantity: Quantity): number | undefined {
  if (typeof quantity === "number") return Number.isFinite(quantity) ? quantity : undefined;
  const match = pattern.exec(quantity);
  if (!match) return undefined;
  const [, digits = "", exponent = "", suffix = ""] = match;
  // 100m is 100/1000, not 100*0.001: a division by an exact power rounds once.
  if (exponent !== "") return Number(digits + exponent);
  if (suffix === "m") return Number(digits) / 1e3;
  if (suffix === "u") return Number(digits) / 1e6;
  if (suffix === "n") return Number(digits) / 1e9;
  return Number(digits) * (factors[suffix] ?? 1);
}

export function isQuantity(value: unknown): boolean {
  return (typeof value === "string" || typeof value === "number") && read(value) !== undefined;
}

/** `"100m"` to 0.1, `"64Mi"` to 67108864. Throws `invalid-quantity` naming `field`. */
export function parseQuantity(quantity: Quantity, field = "quantity"): number {
  const value = read(quantity);
  if (value === undefined) {
    throw new SkerryError({
      code: "invalid-quantity",
      message: `${field}: ${JSON.stringify(quantity)} is not a quantity`,
      hint: "write a number with an optional suffix: 100m, 0.5, 64Mi, 1G",
    });
  }
  return value;
}

/** Thousandths, rounded up as Kubernetes does: sums of CPU shares stay exact. */
export function parseMilliQuantity(quantity: Quantity, field = "quantity"): number {
  const milli = parseQuantity(quantity, field) * 1000;
  const nearest = Math.round(milli);
  // 0.07 * 1000 is 70.00000000000001: noise must not round up to 71.
  return Math.abs(milli - nearest) < 1e-6 ? nearest : Math.ceil(milli);
}
