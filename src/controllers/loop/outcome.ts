/**
 * What a loop does with a write's outcome. Reconciling again from what is really there is the answer
 * to everything that may pass; only what no repetition can mend is terminal.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { WriteRefusal, WriteResult } from "../../resources/index.ts";

/**
 * The object written; undefined when `allowed` names the refusal as one the caller expects. Throws
 * `write-outcome-unknown` and `write-overtaken` (retryable), `write-refused` (terminal).
 */
export function written<T>(
  result: WriteResult<T>,
  what: string,
  allowed: readonly WriteRefusal["reason"][] = [],
): T | undefined {
  switch (result.state) {
    case "done":
      return result.object;
    case "unknown":
      throw new SkerryError({
        code: "write-outcome-unknown",
        message: `${what}: nobody can say whether it was written`,
        retryable: true,
        cause: result.cause,
      });
    case "refused": {
      if (allowed.includes(result.reason)) return undefined;
      const terminal = result.reason === "invalid" || result.reason === "forbidden";
      if (terminal) {
        throw new SkerryError({
          code: "write-refused",
          message: `${what}: ${result.message}`,
          details: { reason: result.reason, causes: result.causes },
        });
      }
      throw new SkerryError({
        code: "write-overtaken",
        message: `${what}: ${result.message}`,
        retryable: true,
        details: { reason: result.reason },
      });
    }
    default:
      return result satisfies never;
  }
}
