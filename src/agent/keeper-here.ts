/** The keeper of a data folder, where one lives, for as long as a piece of work takes. */
import { connectKeeper, keeperPid, type Keeper } from "../keeper/index.ts";
import type { Clock } from "../lib/clock.ts";
import { silentLog } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";

/** Undefined where no keeper lives. */
export async function withKeeperHere<T>(
  deps: { readonly clock: Clock; readonly random: Random },
  dataDir: string,
  work: (keeper: Keeper) => Promise<T>,
): Promise<T | undefined> {
  if (keeperPid(dataDir) === undefined) return undefined;
  const keeper = await connectKeeper(dataDir, { ...deps, log: silentLog });
  try {
    return await work(keeper);
  } finally {
    keeper.close();
  }
}
