/**
 * What of a stream's entries may leave the cell. Paths are field names joined by dots (`motor.rpm`);
 * a dot inside a name is written `\.`. A path goes through arrays: `readings.value` names the field in
 * every element. `keep` alone: only these fields (with all below them). `drop` alone: everything but
 * these. Both: what `keep` names, less what `drop` names. Neither: nothing.
 */
export type EgressPolicy = {
  readonly keep?: readonly string[];
  readonly drop?: readonly string[];
};
