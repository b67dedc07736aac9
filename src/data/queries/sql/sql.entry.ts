/** A process for one statement: the job on standard input, the answer or why there is none on standard output. */
import { setPriority } from "node:os";
import { encodeError } from "../../../lib/errors.ts";
import { runSql, type SqlJob } from "./run.ts";

/** Who waits for a statement waits rather than those who write. */
const niceness = 10;

setPriority(niceness);
const chunks: Buffer[] = [];
for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
let outcome: object;
try {
  outcome = { answer: runSql(JSON.parse(Buffer.concat(chunks).toString()) as SqlJob) };
} catch (error) {
  outcome = { error: encodeError(error) };
}
process.stdout.write(JSON.stringify(outcome));
