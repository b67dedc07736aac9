/** Converts a ledger under writes and kills itself at the step named; what was acknowledged goes to standard output. */
import { writeSync } from "node:fs";
import { convertLedger } from "../../src/ledger/switching/index.ts";
import { bytes, hostDeps, openTestLedger } from "./ledger.ts";
import { commitTo, oldPath, openTarget, switchingOver } from "./ledger-conversion.ts";

const [folder = "", killAt = ""] = process.argv.slice(2);
const switching = switchingOver(openTestLedger({ path: oldPath(folder) }));
const writing = (async () => {
  for (let index = 0; ; index++) {
    const key = `/registry/${index}`;
    const outcome = await switching.transact([], [{ type: "put", key, value: bytes("x") }]);
    if (outcome.state === "done") writeSync(1, `${key}\n`);
  }
})();
writing.catch((error: unknown) => console.error(error));
while ((await switching.status()).revision < 50) await hostDeps.clock.sleep(1);
await convertLedger(hostDeps, switching, {
  openTarget: (from) => openTarget(folder, from),
  commit: commitTo(folder),
  onStep: (step) => {
    if (step === killAt) process.kill(process.pid, "SIGKILL");
  },
});
// Some writes through the new engine, then the end.
await hostDeps.clock.sleep(50);
process.kill(process.pid, "SIGKILL");
