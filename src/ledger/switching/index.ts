export { convertLedger, type Conversion, type ConvertDeps } from "./convert.ts";
export { createSwitchingLedger, type SwitchingLedger } from "./switching.ts";
