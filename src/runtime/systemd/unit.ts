/**
 * Unit files of systemd.service(5), as text. A node's unit confines little, because its pods inherit
 * whatever it may not do; a hub runs nothing but itself and is confined as far as that goes.
 */
import { SkerryError } from "../../lib/errors.ts";

export type UnitOptions = {
  readonly kind: "node" | "hub";
  readonly dataDir: string;
  /** Program and arguments, absolute. */
  readonly command: readonly string[];
  /** Settings as variables, read when it is there. */
  readonly environmentPath: string;
  /** The unit of a user's own manager: no system-wide confinement, wanted by `default.target`. */
  readonly user: boolean;
};

/** Of exit codes: 0 was asked for (`skerry down`), 2 is a configuration that somebody has to mend. */
const endsForGood = "0 2";

export function renderUnit(options: UnitOptions): string {
  const { kind, dataDir, command, environmentPath, user } = options;
  const lines = [
    "# Written by `skerry`; --install writes it anew. Your own changes: systemctl edit",
    "[Unit]",
    kind === "node" ? "Description=Skerry node" : "Description=Skerry hub",
    // Not network-online.target: a node starts from cold without any network, and waits for its address by trying; a wrong clock is no obstacle either.
    "After=network.target",
    `RequiresMountsFor=${word(dataDir)}`,
    "# On a site without an operator nobody resets a unit that gave up.",
    "StartLimitIntervalSec=0",
    "",
    "[Service]",
    "# Node has no datagram sockets of the unix family, so readiness is not notified.",
    "Type=exec",
    `ExecStart=${command.map(argument).join(" ")}`,
    `EnvironmentFile=-${path(environmentPath)}`,
    "Restart=always",
    "RestartSec=5",
    `RestartPreventExitStatus=${endsForGood}`,
    "TimeoutStopSec=45",
    "LimitNOFILE=65536",
    ...(kind === "node" ? nodeLines : hubLines(dataDir)).filter(
      (line) => !user || !systemOnly.test(line),
    ),
    "",
    "[Install]",
    `WantedBy=${user ? "default.target" : "multi-user.target"}`,
  ];
  return `${lines.join("\n")}\n`;
}

const nodeLines = [
  "# The keeper and the pods outlive a stop and a restart of the agent.",
  "KillMode=process",
  "# Limits of pods are cgroups below this unit's.",
  "Delegate=yes",
  "# A pod that the kernel killed for memory is the keeper's business; the node goes on.",
  "OOMPolicy=continue",
  "TasksMax=infinity",
  "# Pods inherit what stands here: nothing that hides files, devices or system calls from them.",
  "ProtectKernelModules=yes",
  "ProtectKernelLogs=yes",
  "ProtectHostname=yes",
];

const hubLines = (dataDir: string) => [
  "KillMode=mixed",
  "NoNewPrivileges=yes",
  "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
  "ProtectSystem=strict",
  `ReadWritePaths=${word(dataDir)}`,
  "ProtectHome=read-only",
  "PrivateTmp=yes",
  "PrivateDevices=yes",
  "ProtectKernelTunables=yes",
  "ProtectKernelModules=yes",
  "ProtectKernelLogs=yes",
  "ProtectControlGroups=yes",
  "ProtectHostname=yes",
  "ProtectClock=yes",
  "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
  "RestrictNamespaces=yes",
  "RestrictRealtime=yes",
  "RestrictSUIDSGID=yes",
  "LockPersonality=yes",
  "SystemCallArchitectures=native",
  "UMask=0077",
];

/** What a user's manager cannot do, or does by namespaces that it may not make. */
const systemOnly =
  /^(?:Protect|Private|CapabilityBoundingSet|Restrict(?!Realtime|SUIDSGID)|ReadWritePaths)/;

/** An argument of ExecStart: quoted, with `%` and `$` meant as they stand. Throws `invalid-argument`. */
export const argument = (text: string) => quoted(text.replaceAll("$", () => "$$"));
/** A path in a list of paths. */
export const word = (text: string) => quoted(text);

/** The rest of a line is one path there; only specifiers have a meaning. */
const path = (text: string) => printable(text).replaceAll("%", "%%");

function quoted(text: string): string {
  const escaped = printable(text).replaceAll("%", "%%").replaceAll(/["\\]/g, "\\$&");
  return /^[\w@%+=:,./$-]+$/.test(escaped) ? escaped : `"${escaped}"`;
}

function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex
  if (text !== "" && !/[\u0000-\u001f\u007f]/.test(text)) return text;
  throw new SkerryError({
    code: "invalid-argument",
    message: `${JSON.stringify(text)} cannot stand in a unit file`,
    hint: "use a path without control characters",
  });
}

/** Lines of an EnvironmentFile, each value in double quotes. Throws `invalid-argument`. */
export function renderEnvironment(variables: Readonly<Record<string, string>>): string {
  const lines = Object.entries(variables).map(
    ([name, value]) => `${name}="${printable(value).replaceAll(/["\\`$]/g, "\\$&")}"`,
  );
  return [
    "# Settings of this Skerry service; flags of --install were written here. See docs/configuration.md",
    ...lines,
    "",
  ].join("\n");
}
