/**
 * Read-only SQL for those who need more than queries: each statement in a process of its own, which is
 * ended when its time is over, when it takes too much memory, or when nobody waits for it any more.
 */
import { readFileSync } from "node:fs";
import type { Clock } from "../../../lib/clock.ts";
import { decodeError, SkerryError, type EncodedError } from "../../../lib/errors.ts";
import { createTurns } from "../../../lib/turns.ts";
import { entryUrl, exited, startEntry } from "../../../runtime/child/index.ts";
import type { QueryFiles } from "../engine.ts";
import type { SqlAnswer, SqlDeclared, SqlQuery } from "./request.ts";
import type { SqlJob } from "./run.ts";

export interface Sql {
  /** Throws `invalid-sql`, `query-too-dear`, `store-busy`; `signal` ends it. */
  run(query: SqlQuery, options: { signal: AbortSignal }): Promise<SqlAnswer>;
}

const atATime = 2;
const waitingMax = 8;
/** Of the whole process, which takes about 60 MB for itself. */
const memoryBytesMax = 384 * 1024 * 1024;
const memoryPollMs = 50;
const pageBytes = 4096;

export function createSql(
  { clock, declared }: { clock: Clock; declared: () => SqlDeclared },
  files: QueryFiles,
): Sql {
  const turns = createTurns(atATime);
  let running = 0;
  return {
    async run(query, { signal }) {
      if (running >= atATime + waitingMax) {
        throw new SkerryError({
          code: "store-busy",
          message: `${running} statements run or wait on this node`,
          hint: "ask again in a moment, or another node",
          retryable: true,
        });
      }
      running++;
      try {
        return await turns.take(() => {
          signal.throwIfAborted();
          return runInProcess({ clock }, { query, declared: declared(), files }, signal);
        });
      } finally {
        running--;
      }
    },
  };
}

async function runInProcess(
  { clock }: { clock: Clock },
  job: SqlJob,
  signal: AbortSignal,
): Promise<SqlAnswer> {
  const { timeoutMs } = job.query;
  const child = startEntry(entryUrl(import.meta.url, "./sql.entry"), {
    nodeArgs: ["--max-old-space-size=256"],
    stdio: ["pipe", "pipe", "ignore"],
  });
  let ended: SkerryError | undefined;
  const end = (error: SkerryError) => {
    ended ??= error;
    child.kill("SIGKILL");
  };
  const gone = () =>
    end(new SkerryError({ code: "closed", message: "nobody waits for it", retryable: true }));
  const timer = clock.after(timeoutMs, () => end(tooLong(timeoutMs)));
  let poll = clock.after(memoryPollMs, function look() {
    if (child.pid !== undefined && residentBytes(child.pid) > memoryBytesMax) end(tooLarge());
    poll = clock.after(memoryPollMs, look);
  });
  signal.addEventListener("abort", gone, { once: true });
  try {
    const closed = exited(child);
    // It may end before it has read all of it; how it ended says why.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(JSON.stringify(job));
    const chunks: Buffer[] = [];
    for await (const chunk of child.stdout ?? []) chunks.push(chunk as Buffer);
    const { code, signal: by } = await closed;
    if (ended) throw ended;
    if (code !== 0) throw died(by ?? String(code));
    return outcomeOf(Buffer.concat(chunks).toString());
  } finally {
    timer.cancel();
    poll.cancel();
    signal.removeEventListener("abort", gone);
    if (child.exitCode === null) child.kill("SIGKILL");
  }
}

function outcomeOf(text: string): SqlAnswer {
  const outcome = JSON.parse(text) as { answer: SqlAnswer } | { error: EncodedError };
  if ("error" in outcome) throw decodeError(outcome.error);
  return outcome.answer;
}

/** proc(5); 0 once it has ended. */
function residentBytes(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, "latin1").split(" ")[1]) * pageBytes;
  } catch {
    return 0;
  }
}

const tooLong = (timeoutMs: number) =>
  new SkerryError({
    code: "query-too-dear",
    message: `the statement was not at its end after ${timeoutMs} ms`,
    hint: "select less, give a shorter time (from, to) of streams, or raise timeoutMs",
  });
const tooLarge = () =>
  new SkerryError({
    code: "query-too-dear",
    message: `the statement took more than ${memoryBytesMax / 1024 / 1024} MiB of memory`,
    hint: "select less at a time: what is sorted, grouped or joined is kept until the end",
  });
const died = (how: string) =>
  new SkerryError({
    code: "query-too-dear",
    message: `the statement's process ended (${how})`,
    hint: "it took more memory than a statement may have, or the machine has none left",
  });
