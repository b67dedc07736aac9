/**
 * An agent as far as a lease is concerned: `leased-agent.entry.ts DATA TTL_MS`. Connects to the keeper
 * of DATA and renews the lease for as long as it runs; says `renewed` after the first time.
 */
import { connectKeeper } from "../../src/keeper/index.ts";
import { bootTimeMs } from "../../src/runtime/clock/index.ts";
import { keeperDeps } from "./keeper.ts";

const [dataDir = "", ttl = ""] = process.argv.slice(2);
const ttlMs = Number(ttl);
const keeper = await connectKeeper(dataDir, keeperDeps);
for (let count = 0; ; count++) {
  await keeper.renewLease({ sentBootMs: bootTimeMs(), ttlMs });
  if (count === 0) process.stdout.write("renewed\n");
  await keeperDeps.clock.sleep(ttlMs / 10);
}
