/** Bech32 (BIP 173) without its limit of 90 characters, as age writes keys. */
const alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const generators = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];

export function encodeBech32(prefix: string, bytes: Uint8Array): string {
  const words = regroup(bytes, { from: 8, to: 5, pad: true }) ?? [];
  const checked = [...words, ...checksum(prefix, words)];
  return `${prefix}1${checked.map((word) => alphabet[word]).join("")}`;
}

/** Undefined for anything that is not bech32, mixed case included. The prefix comes in lower case. */
export function decodeBech32(text: string): { prefix: string; bytes: Uint8Array } | undefined {
  if (text !== text.toLowerCase() && text !== text.toUpperCase()) return undefined;
  const lower = text.toLowerCase();
  const at = lower.lastIndexOf("1");
  const prefix = lower.slice(0, at);
  const words = Array.from(lower.slice(at + 1), (letter) => alphabet.indexOf(letter));
  if (at < 1 || words.length < 6 || words.includes(-1)) return undefined;
  if (polymod([...expand(prefix), ...words]) !== 1) return undefined;
  const bytes = regroup(words.slice(0, -6), { from: 5, to: 8, pad: false });
  return bytes && { prefix, bytes: Uint8Array.from(bytes) };
}

function checksum(prefix: string, words: readonly number[]): number[] {
  const sum = polymod([...expand(prefix), ...words, 0, 0, 0, 0, 0, 0]) ^ 1;
  return [0, 1, 2, 3, 4, 5].map((index) => (sum >>> (5 * (5 - index))) & 31);
}

const expand = (prefix: string) => {
  const codes = Array.from(prefix, (letter) => letter.charCodeAt(0));
  return [...codes.map((code) => code >> 5), 0, ...codes.map((code) => code & 31)];
};

function polymod(words: readonly number[]): number {
  let sum = 1;
  for (const word of words) {
    const top = sum >>> 25;
    sum = ((sum & 0x1ffffff) << 5) ^ word;
    for (const [index, generator] of generators.entries())
      if ((top >>> index) & 1) sum ^= generator;
  }
  return sum >>> 0;
}

/** Undefined when what is left over is not zero, or more than padding. */
function regroup(
  words: Iterable<number>,
  { from, to, pad }: { from: number; to: number; pad: boolean },
): number[] | undefined {
  const out: number[] = [];
  let held = 0;
  let bits = 0;
  for (const word of words) {
    held = ((held << from) | word) & 0xfff;
    bits += from;
    while (bits >= to) {
      bits -= to;
      out.push((held >>> bits) & ((1 << to) - 1));
    }
  }
  const rest = (held << (to - bits)) & ((1 << to) - 1);
  if (pad) return bits > 0 ? [...out, rest] : out;
  return bits >= from || rest !== 0 ? undefined : out;
}
