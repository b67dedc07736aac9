/** Stores that seal after a few entries, in virtual time, and a look into their files. */
import {
  openStreamStore,
  type LocalStreamStore,
  type SealingOptions,
  type StreamDeclaration,
} from "../../src/data/index.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";
import { diary, telemetry } from "./data.ts";

export const small: SealingOptions = { entriesMax: 10, tailEntries: 5, periodMs: 10 };
export const never: SealingOptions = { periodMs: 1e9 };

export async function openSealing(
  path: string,
  options: {
    clock?: SimulatedClock;
    sealing?: SealingOptions;
    streams?: StreamDeclaration[];
    node?: string;
    seed?: number;
    fileBytesMax?: number;
  } = {},
): Promise<LocalStreamStore> {
  const { clock = createSimulatedClock(), sealing = small, node = "n1", seed = 1 } = options;
  const store = openStreamStore(
    { clock, random: seededRandom(seed), log: silentLog },
    { path, node, sealing, fileBytesMax: options.fileBytesMax },
  );
  await store.setStreams(options.streams ?? [telemetry, diary]);
  return store;
}

/** Time for `segments` of them: a turn ends where virtual time does. */
export async function letSeal(clock: SimulatedClock, segments: number): Promise<void> {
  for (let turn = 0; turn < 4 * segments; turn++) await clock.advance(10);
}

/** What the file holds, looked at while no store has it open. */
export function look(path: string): { segments: number; rows: number } {
  const db = openDatabase(path);
  const count = (table: string) =>
    Number(db.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.["n"]);
  const found = { segments: count("segment"), rows: count("entry") };
  db.close();
  return found;
}
