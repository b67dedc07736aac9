/** The vocabulary of configuration: what a key is, and a configuration with its origins. */

/** What people read about a key: in `--help` and in docs/configuration.md. */
export type ConfigKey = {
  readonly text: string;
  /** Its value in a help line: `<port>`. */
  readonly takes: string;
  /** What holds when nobody gives it; absent: nothing does. */
  readonly default?: string;
  /** Without the dashes; absent: the key in kebab-case. */
  readonly flag?: string;
  /** Absent: `SKERRY_` and the key in capitals. */
  readonly env?: string;
  /** Never shown. */
  readonly secret?: boolean;
  /** A later start goes on with it. */
  readonly kept: boolean;
};

export type ConfigKeys = Readonly<Record<string, ConfigKey>>;

export type Loaded<Config> = {
  readonly config: Config;
  /** `--api-port`, `SKERRY_API_PORT`, `/etc/skerry.yaml:3` or `default`. */
  readonly originByField: Readonly<Record<string, string>>;
};
