/**
 * Writes with all parts at once until the shim's log is long enough. Arguments: the folder, which life
 * of it this is, the seed, the file for what was acknowledged, and the log's length at the end. A line
 * of that file is `[position of the log, part, value]`.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { seededRandom } from "../../../lib/random.ts";
import { environment } from "../../../runtime/process/index.ts";
import { createPositionReader } from "../../faults/power-cut-log.ts";
import { parts } from "./parts.ts";

const [folder = "", life = "0", seed = "0", acknowledgedPath = "", logBytes = "0"] =
  process.argv.slice(2);
const position = createPositionReader(environment["SKERRY_POWER_CUT_LOG"] ?? "");
const acknowledged = openSync(acknowledgedPath, "w");
await Promise.all(
  parts.map((part, index) =>
    part.write({
      folder,
      life: Number(life),
      random: seededRandom(Number(seed) + index),
      more: () => position() < Number(logBytes),
      // The log is read after the promise was kept: what is in it by now is enough.
      acknowledge: (value) =>
        void writeSync(acknowledged, `${JSON.stringify([position(), part.name, value])}\n`),
    }),
  ),
);
closeSync(acknowledged);
// Without closing anything: so far nobody knew that the power would fail.
process.exit(0);
