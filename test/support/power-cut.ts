/** Power cuts for tests: folders in memory, so that a check's own fsyncs cost nothing. */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { attachPower, roomyFolder, type Power } from "../../src/drill/faults/power-cut.ts";
import { buildShim } from "../../src/drill/faults/power-cut-shim.ts";
import {
  runCuts,
  type CutsOptions,
  type CutsResult,
} from "../../src/drill/simulated/power-cut/cuts.ts";

export function powerFolder(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(roomyFolder(), "skerry-power-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

export const powerOver = (folder: string): Power => attachPower({ folder, shim: buildShim() });

export async function cutOften(
  options: Pick<CutsOptions, "seed" | "cuts"> & Partial<CutsOptions>,
): Promise<CutsResult> {
  using folder = powerFolder();
  return await runCuts({
    dir: folder.path,
    shim: buildShim(),
    cutsPerLife: 14,
    // Shared by all parts, twelve of them, most of which begin by making a file.
    logBytes: 3_400_000,
    ...options,
  });
}
