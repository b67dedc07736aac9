/** An entry as the gateway and the hub write it, one JSON object a line. */
export type Entry = {
  /** ISO 8601. */
  readonly at: string;
  readonly producer?: string;
  readonly epoch?: number;
  readonly sequence?: number;
  /** The store that accepted it first. */
  readonly origin: string;
  readonly body: Readonly<Record<string, unknown>>;
};
