/**
 * Randomness as a dependency: `runtime/clock` gives the host's, `seededRandom` a repeatable one for
 * simulation, drills and property tests.
 */
export interface Random {
  /** Uniform in [0, 1). */
  float(): number;
  /** Uniform integer in [0, bound); `bound` from 1 to 2^32. */
  integer(bound: number): number;
  bytes(length: number): Uint8Array;
}

/** xoshiro128** by Blackman and Vigna (2018), seeded through splitmix32. Not for secrets. */
export function seededRandom(seed: number): Random {
  let mix = seed >>> 0;
  const splitmix = () => {
    mix = (mix + 0x9e3779b9) | 0;
    let z = mix;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  const state = Uint32Array.of(splitmix(), splitmix(), splitmix(), splitmix());
  const rotateLeft = (value: number, bits: number) => (value << bits) | (value >>> (32 - bits));
  const next = (): number => {
    const [s0 = 0, s1 = 0, s2 = 0, s3 = 0] = state;
    const result = Math.imul(rotateLeft(Math.imul(s1, 5), 7), 9) >>> 0;
    const a = s2 ^ s0;
    const b = s3 ^ s1;
    state[0] = s0 ^ b;
    state[1] = s1 ^ a;
    state[2] = a ^ (s1 << 9);
    state[3] = rotateLeft(b, 11);
    return result;
  };
  const float = () => next() / 0x1_0000_0000;
  return {
    float,
    integer: (bound) => Math.floor(float() * bound),
    bytes(length) {
      const out = new Uint8Array(length);
      for (let i = 0; i < length; i++) out[i] = next() & 0xff;
      return out;
    },
  };
}

/** A random (version 4) UUID, RFC 9562. */
export function uuid(random: Random): string {
  const bytes = random.bytes(16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** Letters and digits without vowels and look-alikes, as Kubernetes uses for generated names. */
const suffixAlphabet = "bcdfghjklmnpqrstvwxz2456789";

export function nameSuffix(random: Random, length = 5): string {
  let out = "";
  for (let i = 0; i < length; i++) out += suffixAlphabet[random.integer(suffixAlphabet.length)];
  return out;
}
