/**
 * OpenSC's pkcs11-tool, a process for each call: a module that crashes or hangs takes nothing with it
 * but that process. One at a time, since tokens count wrong PINs, and cards serve one anyway; how many
 * wait and how long is bounded, so that who asks is told in time.
 */
import { spawn } from "node:child_process";
import { whenAborted } from "../../lib/abort.ts";
import { deadline, type Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { createTurns } from "../../lib/turns.ts";
import { environment } from "../process/index.ts";
import { refusalOf, unavailable } from "./failures.ts";
import { readPin } from "./pin.ts";
import type { KeyReference } from "./reference.ts";

/** Less than who enrols waits for the answer. */
export const answerWithinMs = 8000;
const waitingMax = 32;
const outputBytesMax = 1 << 20;
const pinVariable = "SKERRY_PKCS11_PIN";

/** One call of pkcs11-tool, logged in; what it wrote to standard output. */
export type Ask = (args: readonly string[], input?: Uint8Array) => Promise<Buffer>;

export interface Pkcs11Tool {
  /**
   * When it is its turn, with all its calls together in time. Throws `hsm-unavailable`,
   * `hsm-pin-refused`, `hsm-key-unusable`, `pin-unusable`, `tool-missing`; `closed` after the end.
   */
  use<T>(work: (ask: Ask) => Promise<T>): Promise<T>;
  /** Ends what runs. */
  close(): void;
}

export function createPkcs11Tool(deps: { clock: Clock }, reference: KeyReference): Pkcs11Tool {
  const turns = createTurns(1);
  const closing = new AbortController();
  let waiting = 0;
  /** Each content of the file is tried once: a token locks itself after a few wrong ones. */
  let refused: { readonly pin: string; readonly error: SkerryError } | undefined;

  const withPin = async <T>(signal: AbortSignal, work: (ask: Ask) => Promise<T>): Promise<T> => {
    const late = whenAborted(signal).then((): never => {
      throw signal.reason;
    });
    // A file may hang as a module does: on a disk behind a network, or a pipe that nobody fills.
    const pin = await Promise.race([readPin(reference.pinPath), late]);
    if (refused?.pin === pin) throw refused.error;
    try {
      return await work((args, input) => call(reference, { pin, args, input, signal }));
    } catch (error) {
      if (error instanceof SkerryError && error.code === "hsm-pin-refused")
        refused = { pin, error };
      throw error;
    }
  };

  return {
    async use(work) {
      if (waiting >= waitingMax)
        throw unavailable(reference, `${waitingMax} others wait for it already`);
      const { signal, done } = deadline(deps.clock, answerWithinMs, {
        parent: closing.signal,
        reason: () => unavailable(reference, `no answer within ${answerWithinMs / 1000} s`),
      });
      waiting++;
      try {
        return await turns.take(() => withPin(signal, work));
      } finally {
        waiting--;
        done();
      }
    },
    close: () => closing.abort(new SkerryError({ code: "closed", message: "nothing is signed" })),
  };
}

async function call(
  reference: KeyReference,
  options: {
    pin: string;
    args: readonly string[];
    input: Uint8Array | undefined;
    signal: AbortSignal;
  },
): Promise<Buffer> {
  const { pin, args, input, signal } = options;
  signal.throwIfAborted();
  const { modulePath, token } = reference;
  const login = ["--module", modulePath, "--token-label", token, "--login"];
  const child = spawn("pkcs11-tool", [...login, "--pin", `env:${pinVariable}`, ...args], {
    env: { ...moduleEnvironment(), [pinVariable]: pin },
    stdio: ["pipe", "pipe", "pipe"],
    // A group of its own, which is ended as a whole; and no terminal at which to ask for a PIN.
    detached: true,
  });
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const giveUp = (error: unknown) => {
    reject(error);
    killGroup(child.pid);
  };
  const onAbort = () => giveUp(signal.reason);
  const onTooMuch = () => giveUp(unavailable(reference, "its answer has no end"));
  signal.addEventListener("abort", onAbort);
  const output = gather(child.stdout, onTooMuch);
  const words = gather(child.stderr, onTooMuch);
  child.once("error", (cause) => reject(notRunnable(cause)));
  child.once("close", (code, name) => {
    if (code === 0) resolve(output());
    else reject(refusalOf(reference, words().toString(), name ?? `exit code ${code}`));
  });
  // It may end before it reads; how it ended tells why.
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  try {
    return await promise;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** All that a stream says, once it has ended; `onTooMuch` where that is more than any answer is. */
function gather(stream: NodeJS.ReadableStream, onTooMuch: () => void): () => Buffer {
  const chunks: Buffer[] = [];
  let bytes = 0;
  stream.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > outputBytesMax) onTooMuch();
    else chunks.push(chunk);
  });
  return () => Buffer.concat(chunks);
}

/** Modules find their settings by variables, as SOFTHSM2_CONF; Skerry's own, secrets too, are none of theirs. */
const moduleEnvironment = () =>
  Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith("SKERRY_")));

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Ended in this very moment, or not ours to end: nobody waits for it any more.
  }
}

const notRunnable = (cause: Error) =>
  new SkerryError({
    code: "tool-missing",
    message: `pkcs11-tool cannot be run: ${cause.message}`,
    hint: "install OpenSC (Debian: apt-get install opensc)",
    cause,
  });
