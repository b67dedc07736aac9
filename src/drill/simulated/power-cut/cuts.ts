/**
 * Power cuts over the parts. A process writes under the shim; because the shim's log holds every change
 * in order, the power can fail at any point of it, as often as one likes: what was acknowledged before
 * that point must be on every disk that the model allows. The last such disk is the next life's start.
 */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { explain, SkerryError } from "../../../lib/errors.ts";
import { seededRandom, type Random } from "../../../lib/random.ts";
import { entryUrl, exited, startEntry } from "../../../runtime/child/index.ts";
import { attachPower, type Power } from "../../faults/power-cut.ts";
import { parts } from "./parts.ts";

export type CutsOptions = {
  readonly seed: number;
  /** A folder of its own; it is left behind. */
  readonly dir: string;
  readonly shim: string;
  readonly cuts: number;
  readonly cutsPerLife: number;
  /** How much a life writes. */
  readonly logBytes: number;
  /** For the proofs that the harness notices: what is broken on purpose. */
  readonly ignoreSyncOf?: (folder: string) => string;
  readonly env?: Readonly<Record<string, string>>;
  /** Stops at the first complaint. */
  readonly untilComplaint?: boolean;
};

export type CutsResult = {
  readonly cuts: number;
  /** Acknowledged things looked for, over all cuts. */
  readonly acknowledged: number;
  readonly complaints: readonly string[];
};

type Acknowledged = { readonly position: number; readonly part: string; readonly value: unknown };

/** Throws `drill-step-failed` when the writer fails or the shim's log does not explain its folder. */
export async function runCuts(options: CutsOptions): Promise<CutsResult> {
  const random = seededRandom(options.seed);
  const folder = join(options.dir, "folder");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const complaints: string[] = [];
  let acknowledged = 0;
  let kept: Acknowledged[] = [];
  let cuts = 0;
  for (let life = 1; cuts < options.cuts; life++) {
    using power = attachPower({
      folder,
      shim: options.shim,
      ...(options.ignoreSyncOf ? { ignoreSyncOf: options.ignoreSyncOf(folder) } : {}),
    });
    const said = await writeLife(options, { life, folder, power });
    let position = 0;
    for (let left = options.cutsPerLife; left > 0 && cuts < options.cuts; left--) {
      cuts++;
      position = cutPosition(power.position, random);
      const known = [...kept, ...said.filter((one) => one.position <= position)];
      acknowledged += known.length;
      const disk = join(options.dir, "disk");
      power.restoreAt(position, disk, random);
      for (const text of await complaintsAbout(disk, known))
        complaints.push(`cut ${cuts} (life ${life}, at ${position} of ${power.position}): ${text}`);
      if (options.untilComplaint && complaints.length > 0)
        return { cuts, acknowledged, complaints };
    }
    power.restoreAt(position, folder, random);
    kept = [...kept, ...said.filter((one) => one.position <= position)];
  }
  return { cuts, acknowledged, complaints };
}

/** Often early, where files and folders are made. */
function cutPosition(length: number, random: Random): number {
  return Math.floor(random.float() < 0.3 ? length ** random.float() : length * random.float());
}

async function writeLife(
  options: CutsOptions,
  { life, folder, power }: { life: number; folder: string; power: Power },
): Promise<Acknowledged[]> {
  const acknowledgedPath = join(options.dir, `acknowledged-${life}`);
  const args = [
    folder,
    String(life),
    String(options.seed + life * 1000),
    acknowledgedPath,
    String(options.logBytes),
  ];
  const child = startEntry(entryUrl(import.meta.url, "./writer.entry"), {
    args,
    env: { ...options.env, ...power.env },
    stdio: ["ignore", "inherit", "inherit"],
  });
  const { code, signal } = await exited(child);
  const unexplained = power.unexplained();
  if (code !== 0 || unexplained.length > 0)
    throw new SkerryError({
      code: "drill-step-failed",
      message:
        code === 0
          ? `the shim's log does not explain the folder: ${unexplained.join("; ")}`
          : `the writer ended with ${signal ?? code}`,
    });
  return readFileSync(acknowledgedPath, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const [position, part, value] = JSON.parse(line) as [number, string, unknown];
      return { position, part, value };
    });
}

async function complaintsAbout(disk: string, known: readonly Acknowledged[]): Promise<string[]> {
  const complaints: string[] = [];
  for (const part of parts) {
    const own = known.filter((one) => one.part === part.name).map(({ value }) => value);
    try {
      complaints.push(...(await part.check(disk, own)).map((text) => `${part.name}: ${text}`));
    } catch (error) {
      complaints.push(`${part.name}: ${explain(error)}`);
    }
  }
  return complaints;
}
