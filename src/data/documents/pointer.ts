/** Paths of fields; the rules stand in `lib`, for the egress gate reads the same paths. */
export {
  ancestorsOf,
  isPlain,
  isPointer,
  isWithin,
  join,
  namesOf,
} from "../../lib/json-pointer.ts";
