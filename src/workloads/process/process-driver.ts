/** Runs containers as processes of the host, held by the keeper. `image: host` is the host's own file system. */
import { hostImage } from "../../api/index.ts";
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type {
  Driver,
  DriverAbilities,
  Instance,
  InstanceOwner,
  InstanceSpec,
  InstanceState,
} from "../driver.ts";
import type { ProcessEnforcement, ProcessHost, ProcessStatus } from "../ports.ts";
import { readLog } from "./log-reader.ts";

/** Tells our processes from others that the host may hold. */
const driverLabel = "skerry.dev/driver";

export function createProcessDriver(deps: { clock: Clock; host: ProcessHost }): Driver {
  const { clock, host } = deps;
  /** What `logs` needs while it follows; `list` and events keep it fresh. */
  const statusById = new Map<string, ProcessStatus>();

  const seen = (status: ProcessStatus): Instance | undefined => {
    const instance = instanceOf(status);
    if (instance) statusById.set(status.id, status);
    return instance;
  };
  const mine = (status: ProcessStatus): Instance => {
    const instance = seen(status);
    if (instance) return instance;
    throw new SkerryError({
      code: "container-unknown",
      message: `${status.id} is not a container of this driver`,
    });
  };
  const list = async () => {
    const statuses = await host.list();
    const ids = new Set(statuses.map(({ id }) => id));
    for (const id of statusById.keys()) if (!ids.has(id)) statusById.delete(id);
    return statuses.flatMap((status) => seen(status) ?? []);
  };

  return {
    name: "process",
    async abilities() {
      return abilitiesOf(await host.enforcement());
    },
    async start(spec) {
      if (spec.image !== hostImage) {
        throw new SkerryError({
          code: "image-unsupported",
          message: `image "${spec.image}": the process driver runs commands of the host, not images`,
          hint: `write image: ${hostImage} and a command`,
        });
      }
      return mine(
        await host.start({
          id: spec.id,
          argv: spec.argv,
          env: spec.env,
          cwd: spec.workingDirectory ?? "/",
          limits: spec.limits,
          labels: labelsOf(spec),
          graceMs: spec.graceMs,
          leased: spec.leased,
          ...(spec.leaseTtlMs === undefined ? {} : { leaseTtlMs: spec.leaseTtlMs }),
          ...(spec.leaseSentBootMs === undefined ? {} : { leaseSentBootMs: spec.leaseSentBootMs }),
          ...(spec.user === undefined ? {} : { uid: spec.user }),
          ...(spec.group === undefined ? {} : { gid: spec.group }),
        }),
      );
    },
    stop: async (id, options) => mine(await host.stop(id, options)),
    async remove(id) {
      await host.remove(id);
      statusById.delete(id);
    },
    list,
    onChange: (listener) =>
      host.onChange((status) => {
        if (!status) return listener(undefined);
        const instance = seen(status);
        if (instance) listener(instance);
      }),
    exec: (id, argv, options) => host.exec(id, argv, options),
    async *logs(id, options) {
      if (!statusById.has(id)) await list();
      const status = statusById.get(id);
      if (!status) {
        throw new SkerryError({
          code: "container-unknown",
          message: `there is no container ${id}`,
        });
      }
      const ended = () => (statusById.get(id)?.current.state ?? "exited") === "exited";
      yield* readLog({ clock }, status.logDirectory, { ...options, ended });
    },
  };
}

function labelsOf(spec: InstanceSpec): Record<string, string> {
  const { owner } = spec;
  return {
    [driverLabel]: "process",
    podUid: owner.podUid,
    namespace: owner.namespace,
    podName: owner.podName,
    container: owner.container,
    attempt: String(owner.attempt),
    crashes: String(owner.crashes),
    graceMs: String(spec.graceMs),
  };
}

function instanceOf(status: ProcessStatus): Instance | undefined {
  const { labels } = status;
  if (labels[driverLabel] !== "process") return undefined;
  const owner: InstanceOwner = {
    podUid: labels["podUid"] ?? "",
    namespace: labels["namespace"] ?? "",
    podName: labels["podName"] ?? "",
    container: labels["container"] ?? "",
    attempt: Number(labels["attempt"] ?? 0),
    crashes: Number(labels["crashes"] ?? 0),
  };
  return {
    id: status.id,
    owner,
    graceMs: Number(labels["graceMs"] ?? 0),
    current: stateOf(status),
    abilities: abilitiesOf(status.enforcement),
  };
}

function stateOf({ current }: ProcessStatus): InstanceState {
  switch (current.state) {
    case "starting":
      return { state: "starting" };
    case "running":
    case "stopping":
      return { state: current.state, startedMs: current.startedMs };
    case "exited": {
      const { exit, endedMs, startedMs } = current;
      return {
        state: "exited",
        exit,
        endedMs,
        ...(startedMs === undefined ? {} : { startedMs }),
      };
    }
  }
}

/** Pods share the node's network: their ports are ports of the host. */
function abilitiesOf(enforcement: ProcessEnforcement): DriverAbilities {
  return { ...enforcement, network: "shared" };
}
