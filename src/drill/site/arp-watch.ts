/** Who answers for an address, asked of the wire each second: arping(8) of iputils. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Clock } from "../../lib/clock.ts";
import { explain, SkerryError } from "../../lib/errors.ts";

const run = promisify(execFile);

export type ArpSample = {
  /** Wall clock, before and after the question. */
  readonly fromMs: number;
  readonly toMs: number;
  /** Hardware addresses that answered, in lower case. */
  readonly macs: readonly string[];
};

export type ArpWatch = { readonly samples: readonly ArpSample[]; stop(): Promise<void> };

/**
 * `on` runs a command line on the machine that asks, by its interface `from`: another than the client's,
 * whose own table the answers would mend. Throws `tool-missing`.
 */
export async function watchArp(
  { clock }: { clock: Clock },
  options: {
    readonly address: string;
    readonly from: string;
    readonly on: (argv: readonly string[]) => readonly string[];
  },
): Promise<ArpWatch> {
  const samples: ArpSample[] = [];
  const stopping = new AbortController();
  const ask = async () => {
    const fromMs = clock.wallMs();
    // To everybody each time (-b), for a second: it ends with 1 when nobody answered.
    const asking = ["arping", "-b", "-w", "1", "-I", options.from, options.address];
    const [file = "", ...args] = options.on(asking);
    const said = await run(file, args).catch(
      (error: unknown) => error as { stdout?: string; stderr?: string },
    );
    if (!said.stdout?.startsWith("ARPING")) throw new Error(said.stderr ?? "arping said nothing");
    const macs = [...(said.stdout ?? "").matchAll(/\[([0-9A-F:]{17})\]/g)].map(([, mac = ""]) =>
      mac.toLowerCase(),
    );
    samples.push({ fromMs, toMs: clock.wallMs(), macs: [...new Set(macs)] });
  };
  try {
    await ask();
  } catch (cause) {
    throw new SkerryError({
      code: "tool-missing",
      message: `nobody can ask who answers for an address: ${explain(cause)}`,
      hint: "apt-get install iputils-arping",
      cause,
    });
  }
  const running = (async () => {
    while (!stopping.signal.aborted) await ask();
  })();
  return {
    samples,
    async stop() {
      stopping.abort();
      await running;
    },
  };
}
