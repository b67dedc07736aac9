/** From a write's result to its answer: done, refused, or not known. */
import type { KindDefinition, KubeObject } from "../../api/index.ts";
import type { WriteResult } from "../../resources/index.ts";
import type { Exchange } from "../exchange.ts";
import { refusalError, unknownOutcome } from "../status.ts";

/** The object that was written. Throws StatusError for every other outcome. */
export function writtenOrThrow(
  exchange: Pick<Exchange, "warnings">,
  kind: KindDefinition,
  name: string,
  result: WriteResult<KubeObject>,
): KubeObject {
  switch (result.state) {
    case "done":
      exchange.warnings.push(...(result.warnings ?? []));
      return result.object;
    case "refused":
      throw refusalError(kind, name, result);
    case "unknown":
      throw unknownOutcome(kind, name, result.cause);
  }
}
