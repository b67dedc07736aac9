/**
 * Sums that do not depend on the order of what is added: every rounding error is kept (Shewchuk,
 * "Adaptive precision floating-point arithmetic", 1997, as in Python's `math.fsum`), and rounded once
 * at the end. Large numbers are kept apart, scaled down, so that nothing overflows on the way.
 */
const largeFrom = 2 ** 970;
const scale = 2 ** 200;

export type ExactSum = {
  add(value: number): void;
  /** The nearest number to the true sum; undefined past 1.8e308. */
  total(): number | undefined;
};

export function createExactSum(): ExactSum {
  const small: number[] = [];
  const large: number[] = [];
  return {
    add(value) {
      if (Math.abs(value) < largeFrom) grow(small, value);
      else grow(large, value / scale);
    },
    total() {
      const bits =
        small.reduce((sum, part) => sum + fixedOf(part), 0n) +
        (large.reduce((sum, part) => sum + fixedOf(part), 0n) << 200n);
      const total = numberOf(bits);
      return Number.isFinite(total) ? total : undefined;
    },
  };
}

/** Adds to parts that do not overlap, the smallest first. */
function grow(parts: number[], value: number): void {
  let kept = 0;
  let rest = value;
  for (const part of parts) {
    const [big, little] = Math.abs(rest) < Math.abs(part) ? [part, rest] : [rest, part];
    const sum = big + little;
    const error = little - (sum - big);
    if (error !== 0) parts[kept++] = error;
    rest = sum;
  }
  parts.length = kept;
  if (rest !== 0) parts.push(rest);
}

const bytes = new DataView(new ArrayBuffer(8));

/** In units of 2^-1074, the smallest number above 0. */
function fixedOf(value: number): bigint {
  bytes.setFloat64(0, Math.abs(value));
  const bits = bytes.getBigUint64(0);
  const exponent = bits >> 52n;
  const fraction = bits & 0xf_ffff_ffff_ffffn;
  const fixed = exponent === 0n ? fraction : (fraction | (1n << 52n)) << (exponent - 1n);
  return value < 0 ? -fixed : fixed;
}

/** Rounds to the nearest, ties to even. */
function numberOf(fixed: bigint): number {
  const size = fixed < 0n ? -fixed : fixed;
  const excess = BigInt(Math.max(0, size.toString(2).length - 53));
  const half = excess === 0n ? 0n : 1n << (excess - 1n);
  const rest = size & ((1n << excess) - 1n);
  let head = size >> excess;
  if (excess > 0n && (rest > half || (rest === half && (head & 1n) === 1n))) head += 1n;
  // Exact: the head has at most 53 bits. In two steps, as 2^-1074 times 2^1023 is all one step can say.
  const shift = Number(excess) - 1074;
  const value = Number(head) * 2 ** Math.floor(shift / 2) * 2 ** Math.ceil(shift / 2);
  return fixed < 0n ? -value : value;
}
