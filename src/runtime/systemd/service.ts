/**
 * Puts a unit where systemd looks for it, enables and starts it, and takes it away again. With a root
 * folder (an image that is being built) files are written and enabled below it, and nothing is started.
 */
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { SkerryError } from "../../lib/errors.ts";
import { ensureDirectory, readFileIfExists, writeFileAtomic } from "../files/index.ts";
import { renderEnvironment, renderUnit, type UnitOptions } from "./unit.ts";

export type ServicePlace = {
  /** Without `.service`. */
  readonly name: string;
  /** Empty for this machine. */
  readonly root: string;
  /** Home folder of the user whose manager it is for; absent: the system's. */
  readonly userHome?: string;
};

export type Service = Omit<UnitOptions, "environmentPath" | "user"> & {
  readonly place: ServicePlace;
  readonly variables: Readonly<Record<string, string>>;
};

/** Ends with the exit code and what was said. */
export type RunCommand = (
  argv: readonly string[],
) => Promise<{ readonly code: number; readonly said: string }>;

export type ServiceDeps = {
  readonly run: RunCommand;
  /** Whether systemd runs this machine, as sd_booted(3) tells. */
  readonly booted: boolean;
  readonly progress: (text: string) => void;
};

export const systemdBooted = () => existsSync("/run/systemd/system");

export function servicePaths({ name, root, userHome }: ServicePlace) {
  const folder =
    userHome === undefined ? "/etc/systemd/system" : join(userHome, ".config/systemd/user");
  const settings =
    userHome === undefined ? `/etc/default/${name}` : join(userHome, ".config", `${name}.env`);
  return {
    /** As the running system will name them; written below `root`. */
    unit: join(folder, `${name}.service`),
    settings,
    unitFile: join(root, folder, `${name}.service`),
    settingsFile: join(root, settings),
  };
}

/** The texts, by the path they would be written to. */
export function renderService(service: Service): { unit: string; settings: string } {
  const { place, variables, ...options } = service;
  return {
    unit: renderUnit({
      ...options,
      environmentPath: servicePaths(place).settings,
      user: place.userHome !== undefined,
    }),
    settings: renderEnvironment(variables),
  };
}

/**
 * Throws `systemd-missing` before anything is written, `unit-foreign` when the unit of this name is
 * for another data folder, `systemctl-failed`.
 */
export async function installService(service: Service, deps: ServiceDeps): Promise<void> {
  const { place, dataDir, variables } = service;
  const paths = servicePaths(place);
  requireSystemd(place, deps);
  const texts = renderService(service);
  refuseForeign(paths.unitFile, dataDir, texts.unit);
  ensureDirectory(join(paths.unitFile, ".."));
  writeFileAtomic(paths.unitFile, texts.unit, { mode: 0o644 });
  deps.progress(`wrote ${paths.unitFile}`);
  // Settings that were given before stay when none are given now.
  if (Object.keys(variables).length > 0 || !existsSync(paths.settingsFile)) {
    ensureDirectory(join(paths.settingsFile, ".."));
    writeFileAtomic(paths.settingsFile, texts.settings);
    deps.progress(`wrote ${paths.settingsFile} (readable by its owner only)`);
  }
  const unit = `${place.name}.service`;
  if (place.root !== "") {
    await systemctl(["--root", place.root, "enable", unit], place, deps);
    deps.progress(`enabled ${unit} below ${place.root}; it starts when that system boots`);
    return;
  }
  await systemctl(["daemon-reload"], place, deps);
  await systemctl(["enable", unit], place, deps);
  await systemctl(["restart", unit], place, deps);
  deps.progress(`${unit} is enabled and started`);
}

/** False when there was no such unit. Settings are removed as well; data stay. */
export async function uninstallService(place: ServicePlace, deps: ServiceDeps): Promise<boolean> {
  const paths = servicePaths(place);
  if (!existsSync(paths.unitFile)) return false;
  requireSystemd(place, deps);
  const unit = `${place.name}.service`;
  await systemctl(
    place.root === "" ? ["disable", "--now", unit] : ["--root", place.root, "disable", unit],
    place,
    deps,
  );
  for (const path of [paths.unitFile, paths.settingsFile]) {
    rmSync(path, { force: true });
    deps.progress(`removed ${path}`);
  }
  if (place.root === "") await systemctl(["daemon-reload"], place, deps);
  return true;
}

function requireSystemd({ root, name }: ServicePlace, { booted }: ServiceDeps): void {
  if (booted || root !== "") return;
  throw new SkerryError({
    code: "systemd-missing",
    message: `systemd does not run this machine, so nothing would start ${name} at boot; nothing was written`,
    hint: "--print shows the unit, --root DIR writes it into the image of another machine; for another init system let it run the same command",
  });
}

/** The unit names its data folder in ExecStart; one that names another is not ours to replace. */
function refuseForeign(unitFile: string, dataDir: string, next: string): void {
  const present = readFileIfExists(unitFile)?.toString();
  const mountsOf = (text: string) => /^RequiresMountsFor=(.*)$/m.exec(text)?.[1];
  if (present === undefined || mountsOf(present) === mountsOf(next)) return;
  throw new SkerryError({
    code: "unit-foreign",
    message: `${unitFile} exists and is not for ${dataDir}`,
    hint: "give this one another name with --unit NAME, or take the other away with --uninstall",
  });
}

async function systemctl(
  args: readonly string[],
  { userHome }: ServicePlace,
  { run }: ServiceDeps,
): Promise<void> {
  const argv = ["systemctl", ...(userHome === undefined ? [] : ["--user"]), ...args];
  const { code, said } = await run(argv);
  if (code === 0) return;
  throw new SkerryError({
    code: "systemctl-failed",
    message: `${argv.join(" ")} ended with ${code}: ${said.trim()}`,
    hint: "files that were written stay; mend the cause and run the same command again",
  });
}
