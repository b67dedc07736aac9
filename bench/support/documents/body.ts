/** Documents of ten fields, 40% of which no compression makes smaller; the same from the same seed. */
import { seededRandom } from "../../../src/lib/random.ts";
import type { Body } from "./protocol.ts";

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const words = ["valve", "pump", "gauge", "filter", "motor", "sensor", "seal", "bearing"];
/** Of about 330 characters in all. */
const randomCharacters = 132;

export const idOf = (at: number) => `part-${String(at).padStart(6, "0")}`;

/** A new version changes one field, as most edits do. */
export function bodyOf(at: number, version: number): Body {
  const random = seededRandom(at + 1);
  const word = () => words[random.integer(words.length)] ?? "";
  let noise = "";
  for (let i = 0; i < randomCharacters; i++) noise += letters[random.integer(64)];
  return {
    name: `${word()} ${word()} ${at}`,
    maker: word(),
    site: `plant-${random.integer(20)}`,
    shelf: `${random.integer(40)}-${random.integer(200)}`,
    price: random.integer(100_000) / 100,
    stock: random.integer(1000) + version,
    active: random.integer(2) === 0,
    note: `checked by ${word()} team, fits ${word()} and ${word()}`,
    serial: String(random.integer(1_000_000_000)),
    signature: noise,
  };
}
