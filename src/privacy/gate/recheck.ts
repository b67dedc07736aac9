/**
 * The gate's second look, at the hub: every field that arrived must be let out by the policy that the
 * cell declared. A batch that breaks its own policy is refused whole and counted, for a cell that
 * leaks once leaks again.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { EgressPolicy, StoredEntry } from "../../api/index.ts";
import { parseBody, writeBody } from "./body.ts";
import { compilePolicy, filter, type CompiledPolicy } from "./policy.ts";

export interface Recheck {
  /** Throws `egress-violated` or `invalid-egress`. */
  check(batch: {
    readonly entries: readonly StoredEntry[];
    readonly policies?: Readonly<Record<string, EgressPolicy>>;
  }): void;
  /** Batches refused since the start. */
  readonly violations: number;
}

export function createRecheck(): Recheck {
  let violations = 0;
  const refuse = (stream: string, problem: string): SkerryError => {
    violations++;
    return new SkerryError({
      code: "egress-violated",
      message: `stream ${stream}: ${problem}`,
      hint: "the cell sends what its Stream does not let out: look at its version and its Stream objects; nothing of the batch was stored",
    });
  };
  return {
    check({ entries, policies = {} }) {
      const compiledByStream = new Map<string, CompiledPolicy>();
      for (const { stream, body } of entries) {
        const policy = Object.hasOwn(policies, stream) ? policies[stream] : undefined;
        if (!policy) throw refuse(stream, "an entry came without an egress policy");
        const compiled = compiledByStream.get(stream) ?? compilePolicy(policy);
        compiledByStream.set(stream, compiled);
        const value = parseBody(body);
        if (!value) throw refuse(stream, "an entry's body is not a JSON object");
        const rewritten = writeBody(value);
        if (Buffer.compare(rewritten, writeBody(filter(compiled, value))) !== 0)
          throw refuse(stream, "an entry holds a field that its egress policy does not let out");
      }
    },
    get violations() {
      return violations;
    },
  };
}
