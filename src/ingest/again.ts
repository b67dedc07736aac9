/** What the sender of a refused message asked for, beside its payload: plain data, for it is written down. */
import type { EntryInput } from "../api/index.ts";
import type { Subject } from "./ports.ts";

export type Again =
  | {
      readonly by: "http";
      readonly stream: string;
      readonly sender: string;
      readonly query: Readonly<Record<string, unknown>>;
      readonly headers: Readonly<Record<string, unknown>>;
      /** When it came. */
      readonly atMs: number;
    }
  | {
      readonly by: "mqtt";
      readonly message: {
        readonly topic: string;
        readonly qos: 0 | 1 | 2;
        readonly clientId: string;
        readonly subject: Subject | undefined;
        readonly userProperties?: Readonly<Record<string, string | readonly string[]>> | undefined;
        readonly atMs: number;
      };
    }
  | {
      readonly by: "host";
      readonly entries: readonly (Omit<EntryInput, "body"> & { readonly body: string })[];
    };

export type AgainBy<By extends Again["by"]> = Extract<Again, { readonly by: By }>;

/** What it holds beside the payload, where that is not small. */
export const extraBytes = (again: Again): number =>
  again.by === "host" ? again.entries.reduce((sum, { body }) => sum + body.length, 0) : 0;
