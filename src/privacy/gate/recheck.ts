/**
 * The gate's second look, at the hub: every field that arrived must be let out by the policy that the
 * cell declared. A batch that breaks its own policy is refused whole and counted, for a cell that
 * leaks once leaks again.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { EgressPolicy, EntryColumns } from "../../api/index.ts";
import { admissionOf, admits, type Admission } from "./admission.ts";
import { parseBody } from "./body.ts";
import { compilePolicy } from "./policy.ts";

export interface Recheck {
  /** Throws `egress-violated` or `invalid-egress`. */
  check(batch: {
    readonly columns: EntryColumns;
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
    check({ columns, policies = {} }) {
      const { streams, stream: streamOf, end, bodies } = columns;
      const admissions: Admission[] = [];
      const admissionOfStream = (stream: string): Admission => {
        const policy = Object.hasOwn(policies, stream) ? policies[stream] : undefined;
        if (!policy) throw refuse(stream, "an entry came without an egress policy");
        return admissionOf(compilePolicy(policy));
      };
      let start = 0;
      for (let index = 0; index < streamOf.length; index++) {
        const [at, bodyEnd] = [streamOf[index] as number, end[index] as number];
        const stream = streams[at] ?? "";
        const admission = (admissions[at] ??= admissionOfStream(stream));
        const isAdmitted = admits(admission, bodies, start, bodyEnd);
        const body = isAdmitted ? undefined : bodies.subarray(start, bodyEnd);
        start = bodyEnd;
        if (body === undefined) continue;
        throw refuse(
          stream,
          parseBody(body)
            ? "an entry holds a field that its egress policy does not let out"
            : "an entry's body is not a JSON object",
        );
      }
    },
    get violations() {
      return violations;
    },
  };
}
